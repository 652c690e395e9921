"""Pure tensor functions: grids, warps, gradients, smoothing, the Taylor step, MIND-SSC and maps of labels.

Every function takes and returns tensors of shape (B, C, I, J, K), the voxel axes in RAS+ order. A displacement is
(B, 3, I, J, K) in voxels of the grid that it lives on and points from fixed to moving: warped(x) = moving(x + u(x)).
"""
