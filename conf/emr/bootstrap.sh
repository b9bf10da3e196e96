#!/bin/bash
# For the GPU nodes: YARN on EMR 7 isolates GPUs by control groups of version 1, which the machines' own system no longer
# mounts. The place is the one that configurations.json names. As a bootstrap action: --bootstrap-actions Path=s3://…
set -euo pipefail
sudo mkdir -p /prox-spark-cgroup/devices
sudo mount -t cgroup -o devices cgroupv1-devices /prox-spark-cgroup/devices
sudo chmod a+rwx -R /prox-spark-cgroup
