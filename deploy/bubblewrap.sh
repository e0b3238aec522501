#!/bin/sh
# One executor behind one unix socket, without Python on the machine: it sees DATA read-only as /data, the system's
# libraries, and no network.
#
#   deploy/bubblewrap.sh EXECUTOR DATA RUN
#
# EXECUTOR: the file data/worker_binary of the tensorflow-federated wheel; DATA: a folder of records; RUN: a folder that
# receives executor.sock, the only way in. Put nginx in front of it (deploy/nginx.conf). Ends with SIGTERM.
# Debian packages: bubblewrap socat.
set -eu
executor=$1 data=$2 run=$3
rm -f "$run/executor.sock"
exec env -i PATH=/usr/bin:/bin bwrap --unshare-all --die-with-parent --new-session --cap-drop ALL --clearenv \
  --setenv PATH /usr/bin --setenv TF_CPP_MIN_LOG_LEVEL 3 --setenv TF_NUM_INTRAOP_THREADS 1 \
  --ro-bind /usr/lib /usr/lib --symlink usr/lib /lib --ro-bind /usr/lib64 /usr/lib64 --symlink usr/lib64 /lib64 \
  --ro-bind "$(command -v socat)" /usr/bin/socat --ro-bind "$(readlink -f "$(command -v sh)")" /usr/bin/sh \
  --ro-bind "$executor" /executor --ro-bind "$data" /data --bind "$run" /run/worker \
  --proc /proc --dev /dev --size 268435456 --tmpfs /tmp --chdir /tmp \
  /usr/bin/sh -c 'socat -lf /dev/null UNIX-LISTEN:/run/worker/executor.sock,fork,mode=600,max-children=64 \
    TCP4:127.0.0.1:8000 & exec /executor --port=8000 --max_concurrent_computation_calls=2'
