#!/usr/bin/env bash
# Three hospitals and a coordinator on one host, as they would be on four: each with its own user, network and files. The
# hospitals prepare films of their own, approve the plan, and open one connection outwards; nothing listens there for
# others. The coordinator has no film, sends nothing but what was approved, and sees sums that are encrypted.
#
#   deploy/three_hospitals.sh OUT [flags of pipelines.plan]
#
# OUT, a folder to make, receives coordinator/ (plan.json, run/) and a folder for each hospital (films/, prepared/,
# approved.json, audit.jsonl). PYTHON names the interpreter, PORT the doorway's port; TRACE=FILE lists with strace, in
# FILE, every file that the coordinator's training opens. As root, with iproute2, each party
# gets a network namespace and a user; otherwise all share one, which is said. Debian packages: bubblewrap socat
# nginx-light libnginx-mod-stream openssh-client openssh-server iproute2.
set -euo pipefail
out=${1:?usage: deploy/three_hospitals.sh OUT [flags of pipelines.plan]}; shift
root=$(cd "$(dirname "$0")/.." && pwd)
python=$(command -v "${PYTHON:-python}")
port=${PORT:-4443}
sites=(north south west)
[[ ! -e $out ]] || { echo "three_hospitals: error: $out exists already." >&2; exit 1; }
mkdir -p "$out"; out=$(cd "$out" && pwd)
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}" TF_CPP_MIN_LOG_LEVEL=3

pids=(); spaces=(); users=()
stop() {
  kill "${pids[@]}" 2>/dev/null || true; wait "${pids[@]}" 2>/dev/null || true
  for space in "${spaces[@]}"; do ip netns del "$space" 2>/dev/null || true; done
  for user in "${users[@]}"; do userdel "$user" 2>/dev/null || true; done
}
trap stop EXIT

# Users, where this is root's and another user can read the program and the folder.
separate_users=no
if [[ $(id -u) -eq 0 ]] && command -v useradd >/dev/null; then
  chmod 0755 "$out"
  if setpriv --reuid=65534 --regid=65534 --clear-groups env "$python" -c \
      "import os, numpy; open('$root/setup.py'); os.listdir('$out')" 2>/dev/null; then separate_users=yes; fi
fi
# Networks: each hospital has one wire, to the coordinator.
separate_networks=no
if [[ $(id -u) -eq 0 ]] && command -v ip >/dev/null && ip netns add tffv-coordinator 2>/dev/null; then
  separate_networks=yes; spaces+=(tffv-coordinator)
fi
sandbox=none
if command -v socat >/dev/null && bwrap --unshare-all --ro-bind / / true 2>/dev/null; then sandbox=bubblewrap; fi
echo "users: $separate_users; networks: $separate_networks; sandbox: $sandbox"

party() {  # NAME NUMBER: makes a party's user, network and folder.
  local name=$1 number=$2
  mkdir -p "$out/$name"
  if [[ $separate_users == yes ]]; then
    id "tffv-$name" >/dev/null 2>&1 || { useradd --system --no-create-home --shell /bin/sh --home "$out/$name" "tffv-$name"; users+=("tffv-$name"); }
    chown "tffv-$name:" "$out/$name"
  fi
  chmod 0700 "$out/$name"
  [[ $separate_networks == yes ]] || return 0
  if [[ $name != coordinator ]]; then
    ip netns add "tffv-$name"; spaces+=("tffv-$name")
    ip -n tffv-coordinator link add "v$number" type veth peer name eth0 netns "tffv-$name"
    ip -n tffv-coordinator addr add "10.213.7.$((4 * number + 1))/30" dev "v$number"
    ip -n tffv-coordinator link set "v$number" up
    ip -n "tffv-$name" addr add "10.213.7.$((4 * number + 2))/30" dev eth0
    ip -n "tffv-$name" link set eth0 up
  fi
  ip -n "tffv-$name" link set lo up
}
as_party() {  # NAME: sets `wrap` to what runs a command with a party's user and network.
  wrap=()
  [[ $separate_networks == no ]] || wrap+=(ip netns exec "tffv-$1")
  [[ $separate_users == no ]] || wrap+=(setpriv "--reuid=tffv-$1" "--regid=tffv-$1" --clear-groups)
  wrap+=(env HOME="$out/$1")
}
by() {  # NAME COMMAND...: runs a command as a party, in its folder and network.
  local name=$1; shift
  as_party "$name"
  (cd "$out/$name" && exec "${wrap[@]}" "$@")
}
begin() {  # NAME LOG COMMAND...: the same in the background, until the end of this script.
  local name=$1 log=$2; shift 2
  as_party "$name"
  (cd "$out/$name" && exec "${wrap[@]}" "$@") >"$log" 2>&1 </dev/null &
  pids+=($!)
}
door() { if [[ $separate_networks == yes ]]; then echo "10.213.7.$((4 * $1 + 1))"; else echo 127.0.0.1; fi; }
give() {  # NAME FILE...: hands files to a party.
  local name=$1; shift
  cp "$@" "$out/$name/"
  [[ $separate_users == no ]] || for file in "$@"; do chown "tffv-$name:" "$out/$name/$(basename "$file")"; done
}

party coordinator 0
addresses=(127.0.0.2 127.0.0.3 127.0.0.4)
for i in 0 1 2; do party "${sites[i]}" $((i + 1)); done

# Certificates come from an authority that all trust; a site's private keys go to that site only.
pki=$(mktemp -d)
"$python" -m pipelines.certificates --dir="$pki" --hosts="$(IFS=,; echo "${addresses[*]}")" --doorway=doorway.example
for file in ca.crt coordinator.crt coordinator.key doorway.example.crt doorway.example.key doorway; do give coordinator "$pki/$file"; done
for i in 0 1 2; do
  give coordinator "$pki/${addresses[i]}.dial.pub"
  give "${sites[i]}" "$pki/ca.crt" "$pki/doorway.pub" "$pki/${addresses[i]}".{key,dial}
  # By their certificates, sites know each other's messages.
  for address in "${addresses[@]}"; do give "${sites[i]}" "$pki/$address.crt"; done
done
rm -rf "$pki"

# The coordinator's plan: no film is opened. Sites keep it beside what they prepare.
plan=(--image_shape=28,28,1 --class_names=normal,abnormal --cohort_size=3 --model=linear --client_learning_rate=0.02
      --client_epochs=1 --rounds=5 --rounds_per_evaluation=5 --secure_sum=he
      --sites="$(for i in 0 1 2; do echo -n "${sites[i]}=${addresses[i]}:$((port + 1 + i)),"; done | sed 's/,$//')"
      --worker_data_dir=/data)
[[ $sandbox == bubblewrap ]] || plan+=(--worker_data_dir=prepared)
by coordinator "$python" -m pipelines.plan "${plan[@]}" "$@" --plan_out=draft.json

examples=()
for site in "${sites[@]}"; do
  cp "$out/coordinator/draft.json" "$out/$site/draft.json"; chmod 0644 "$out/$site/draft.json"
  number=$([[ $site == north ]] && echo 0 || { [[ $site == south ]] && echo 1 || echo 2; })
  by "$site" "$python" "$root/deploy/films.py" "$number" films
  by "$site" "$python" -m pipelines.prepare --plan=draft.json --site="$site" --data_dir=films --out=prepared
  # The one number that a site tells before it approves, unless counts are private: how many training images it has.
  examples+=("$(by "$site" "$python" -c "import json; print(json.load(open('prepared/site.json'))['clients'][0]['counts']['train'])")")
done
told=(--examples="$(IFS=,; echo "${examples[*]}")")
[[ " $* " != *" --private_counts "* ]] || told=()
by coordinator "$python" -m pipelines.plan "${plan[@]}" "$@" --rehearse "${told[@]}" --plan_out=plan.json

# Each hospital builds the plan's computations itself, and approves. With a secure sum it plays its own half of it.
certs=(--site_certs="$(for i in 0 1 2; do echo -n "${sites[i]}=${addresses[i]}.crt,"; done | sed 's/,$//')")
[[ " $* " != *" --secure_sum=none "* && " $* " != *" --key_holder_dir="* ]] || certs=()
for i in 0 1 2; do
  site=${sites[i]}
  cp "$out/coordinator/plan.json" "$out/$site/plan.json"; chmod 0644 "$out/$site/plan.json"
  by "$site" "$python" -m pipelines.approve --plan=plan.json --site="$site" --prepared=prepared \
    "${told[@]}" "${certs[@]}" --tls_key="${addresses[i]}.key" --yes >"$out/$site.approval.txt"
done

doors=()
for i in 0 1 2; do doors+=("${addresses[i]}:$((port + 1 + i))=${addresses[i]}.dial.pub"); done
begin coordinator "$out/doorway.log" "$python" -m pipelines.doorway --host=0.0.0.0 --port="$port" --tls_cert=doorway.example.crt \
  --tls_key=doorway.example.key --host_key=doorway --sites="$(IFS=,; echo "${doors[*]}")"
login=$([[ $separate_users == yes ]] && echo tffv-coordinator || id -un)
for i in 0 1 2; do
  site=${sites[i]}; own=()
  [[ $sandbox == none ]] || own=(--data_root="$out/$site/prepared")
  begin "$site" "$out/$site.log" "$python" -m pipelines.worker --port=$((port + 1 + i)) --sandbox="$sandbox" "${own[@]}" \
    --tls_cert="${addresses[i]}.crt" --tls_key="${addresses[i]}.key" --tls_client_ca=ca.crt --approved=approved.json \
    --dial="$login@$(door $((i + 1))):$port" --dial_name=doorway.example --dial_as="${addresses[i]}:$((port + 1 + i))" \
    --dial_key="${addresses[i]}.dial" --dial_host_key=doorway.pub --dial_ca=ca.crt
done

traced=()
if [[ -n ${TRACE:-} ]]; then
  TRACE=$(realpath -m "$TRACE")  # Training runs in a folder of its own.
  : >"$TRACE"; [[ $separate_users == no ]] || chown tffv-coordinator: "$TRACE"
  traced=(strace -f --seccomp-bpf -e trace=open,openat,openat2 -o "$TRACE")
fi
by coordinator "${traced[@]}" "$python" -m pipelines.train --plan=plan.json --run_dir=run --tls_ca=ca.crt --tls_cert=coordinator.crt \
  --tls_key=coordinator.key

if [[ $separate_users == yes ]]; then
  for site in "${sites[@]}"; do
    if by coordinator test -r "$out/$site/films" || by coordinator test -r "$out/$site/prepared"; then
      echo "three_hospitals: error: the coordinator can read the files of $site." >&2; exit 1
    fi
  done
  echo 'the coordinator could read no file of a hospital.'
fi
