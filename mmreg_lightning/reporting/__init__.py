"""What people look at: HTML pages, figures of pairs and features, colours and planes."""
