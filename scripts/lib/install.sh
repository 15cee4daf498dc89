# Shell functions that install what a script needs; each does nothing when it is done already. Sourced from the repository's root by a
# script with `set -euo pipefail`. They print to standard error, so that a caller's output stays its own.

say() { echo "$(basename "$0"): $*" >&2; }
fail() {
  local code=$1
  shift
  say "$*"
  exit "$code"
}

# need_tool NAME WHAT-TO-DO
need_tool() {
  command -v "$1" >/dev/null || fail 3 "$1 is not installed; $2"
}

need_rust() { need_tool cargo "Rust comes from https://rustup.rs (Cargo.toml says which version)"; }

need_node() {
  need_tool node "Node 20.19 or newer is needed"
  need_tool npm "it comes with Node"
  node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)' ||
    fail 3 "Node $(node -v) is too old; 20.19 or newer is needed"
}

# The stand-in for AWS, in an environment of its own.
install_stand_in() { scripts/venv ministack infra/local/requirements.txt >/dev/null; }

# hash_of INPUT…: one hash over files, and over folders with all that git does not ignore in them.
hash_of() {
  local input
  for input in "$@"; do
    git ls-files -z --cached --others --exclude-standard -- "$input"
  # A file that is deleted and still known to git has no hash, which is a change too.
  done | sort -zu | { xargs -0 -r sha256sum 2>/dev/null || true; } | sha256sum | cut -d' ' -f1
}

# Node's packages of a folder, exactly as its lock file says.
install_node_packages() {
  local folder=$1 stamp
  stamp=$(hash_of "$folder/package.json" "$folder/package-lock.json")
  if [ "$(cat "$folder/node_modules/.kiln-stamp" 2>/dev/null || true)" != "$stamp" ]; then
    say "installing the packages of $folder"
    # A registry that lacks the binaries of other platforms makes `npm ci` refuse a lock without them; then the locked versions
    # are installed without touching the lock.
    npm --prefix "$folder" ci --no-audit --no-fund >&2 2>/dev/null || npm --prefix "$folder" install --no-save --no-audit --no-fund >&2
    echo "$stamp" >"$folder/node_modules/.kiln-stamp"
  fi
}

# The pages, when their sources are newer than their build.
build_web() {
  install_node_packages web
  local stamp
  stamp=$(hash_of web docs/openapi.json)
  if [ ! -f web/dist/index.html ] || [ "$(cat web/node_modules/.kiln-build 2>/dev/null || true)" != "$stamp" ]; then
    say "building the pages"
    npm --prefix web run --silent build >&2
    echo "$stamp" >web/node_modules/.kiln-build
  fi
}

# The networks' weights, checked by hash.
fetch_models() { scripts/fetch-models >&2; }

# The system with cargo's dev profile, and the worker optimised: it computes.
build_system() {
  say "building (the first time takes some minutes)"
  # In a terminal cargo shows how far it is.
  local quiet=--quiet
  [ -t 2 ] && quiet=
  cargo build $quiet --locked --workspace --bins >&2
  cargo build $quiet --locked --profile worker -p kiln-worker >&2
}

# A browser for the tests of the page: Debian's.
install_chromium() {
  if ! command -v chromium >/dev/null; then
    local sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    say "installing Chromium"
    $sudo apt-get update -qq >&2
    $sudo apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >&2
  fi
}

# ready_url LOG PID: the address that a kiln-local whose output goes to LOG prints when it is ready; fails when it ends before, or in a minute.
ready_url() {
  timeout 60 sh -c "until sed -n 's/^kiln-local ready //p' '$1' | grep .; do kill -0 $2 2>/dev/null || exit 1; sleep 0.2; done"
}
