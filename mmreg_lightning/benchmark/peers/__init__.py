"""Other registration packages, each run through its own public interface in a process of its own."""
