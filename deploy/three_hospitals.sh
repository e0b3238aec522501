#!/usr/bin/env bash
# Three hospitals on one host, as they would be on three: each with its own address, worker, data folder and certificate.
# The coordinator sees no image and no single update: clients encrypt under keys that they make together.
#
#   deploy/three_hospitals.sh OUT [flags of pipelines.train]
#
# OUT, a folder to make, receives shards/ (a folder for each hospital), pki/, logs and run/. PYTHON names the interpreter,
# PORT the workers' port. Where bubblewrap and socat work each worker is shut in and shows its executor nothing but its own
# folder; elsewhere each works in its folder. Debian packages: bubblewrap socat nginx-light libnginx-mod-stream.
set -euo pipefail
out=${1:?usage: deploy/three_hospitals.sh OUT [flags of pipelines.train]}; shift
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python}
port=${PORT:-8443}
hosts=(127.0.0.1 127.0.0.2 127.0.0.3)
data=(--dataset=synthetic_chest --partition=natural)
[[ ! -e $out ]] || { echo "three_hospitals: error: $out exists already." >&2; exit 1; }
mkdir -p "$out"; out=$(cd "$out" && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"

# In earnest each hospital writes its own folder and gets its certificate from an authority that all trust.
"$python" -m pipelines.shard "${data[@]}" --num_workers=3 --out="$out/shards"
"$python" -m pipelines.certificates --dir="$out/pki" --hosts="$(IFS=,; echo "${hosts[*]}")"

walls=none; seen=.
if bwrap --unshare-all --ro-bind / / true 2>/dev/null && command -v socat >/dev/null; then walls=bubblewrap; seen=/data; fi
echo "sandbox: $walls"

pids=()
stop() { kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true; }
trap stop EXIT
for i in 0 1 2; do
  folder=$out/shards/worker_$i; host=${hosts[i]}; own=()
  [[ $walls == none ]] || own=(--data_root="$folder")
  (cd "$folder" && exec "$python" -m pipelines.worker --host="$host" --port="$port" --sandbox="$walls" "${own[@]}" \
    --tls_cert="$out/pki/$host.crt" --tls_key="$out/pki/$host.key" --tls_client_ca="$out/pki/ca.crt") \
    >"$out/worker_$i.log" 2>&1 </dev/null &
  pids+=($!)
done

"$python" -m pipelines.train "${data[@]}" --cohort_size=3 --model=linear --client_learning_rate=0.02 --client_epochs=1 \
  --rounds=5 --rounds_per_evaluation=5 --secure_sum=he "$@" --run_dir="$out/run" \
  --runtime=workers --workers="$(printf "%s:$port," "${hosts[@]}" | sed 's/,$//')" \
  --data_placement=worker --worker_data_dir="$seen" \
  --tls_ca="$out/pki/ca.crt" --tls_cert="$out/pki/coordinator.crt" --tls_key="$out/pki/coordinator.key"
