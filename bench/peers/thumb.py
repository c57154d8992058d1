"""Prints the median milliseconds of a thumbnail that is decoded in draft mode."""
import io
import statistics
import sys
import time

from PIL import Image

with open(sys.argv[1], "rb") as file:
    photo = file.read()
times = []
for _ in range(30):
    began = time.perf_counter()
    image = Image.open(io.BytesIO(photo))
    image.draft("RGB", (150, 150))
    image.thumbnail((150, 150))
    image.save(io.BytesIO(), "JPEG", quality=85)
    times.append(1000 * (time.perf_counter() - began))
print(statistics.median(times))
