"""Prints the median milliseconds of voxel_down_sample, and the points it leaves."""
import statistics
import sys
import time

import open3d

cloud = open3d.io.read_point_cloud(sys.argv[1])
times = []
for _ in range(7):
    began = time.perf_counter()
    thinned = cloud.voxel_down_sample(float(sys.argv[2]))
    times.append(1000 * (time.perf_counter() - began))
print(statistics.median(times), len(thinned.points))
