#!/usr/bin/env bash
# What an instance that the pool rents at EC2 runs at its first boot, as root (cloud-init). The pool fills in what stands between at signs
# (functions/warm-pool/src/ec2/order.rs): where Kiln is, a token that works once, the worker's container, and the longest life.
# It promises: whatever fails here or never ends, the machine shuts down, and shutting down terminates it, since that is how it was rented.
set -uo pipefail

KILN_API='@API@'
KILN_BOOT_TOKEN='@BOOT_TOKEN@'
KILN_MAX_LIFE_S='@MAX_LIFE_S@'
# So long after its order the token is worth nothing, and the pool gives the machine back.
boot_s='@BOOT_S@'
worker_image='@WORKER_IMAGE@'
# The worker drains at the end of its life; with this much more, the machine goes whatever it does.
margin_s=900

# First of all, so that nothing below can keep it from happening.
shutdown -h "+$(((KILN_MAX_LIFE_S + margin_s + 59) / 60))" 'the longest life of this machine is over'

end() {
  echo "kiln: this machine ends"
  until shutdown -h now; do sleep 5; done
}
trap end EXIT

# Docker may still be on its way.
for _ in $(seq 60); do
  docker info >/dev/null 2>&1 && break
  sleep 2
done

pulled=
for _ in 1 2 3; do
  left_s=$((boot_s - SECONDS))
  [ "$left_s" -gt 0 ] || break
  # One that hangs is worth no more than one that fails.
  timeout "$left_s" docker pull --quiet "$worker_image" && pulled=1 && break
  sleep 10
done
if [ -z "$pulled" ]; then
  echo "kiln: the worker's container could not be pulled"
  exit 1
fi

# The host's own network: the metadata service answers nobody who is further away, and from there the worker's parent hears of a spot machine's end.
# The container can't shut its host down, and need not: when it ends, this script does. The token goes by the environment, so it is in no process list.
export KILN_API KILN_BOOT_TOKEN KILN_MAX_LIFE_S
docker run --rm --name kiln-worker --gpus all --network host --cap-drop ALL --security-opt no-new-privileges \
  --stop-timeout 100 --log-opt max-size=50m --log-opt max-file=2 \
  -e KILN_API -e KILN_BOOT_TOKEN -e KILN_MAX_LIFE_S -e KILN_LOG=json -e KILN_SHUTDOWN=/bin/true \
  "$worker_image" --rented ec2
echo "kiln: the worker has ended with exit code $?"
