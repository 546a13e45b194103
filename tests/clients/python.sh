# shellcheck shell=sh
# What the clients in Python share; their `run` sources it in its own directory. Installs what `requirements.txt` pins, here under
# target/ and nowhere else, once for each state of it, and leaves the interpreter in $python; builds the server unless COUNTERSIGN_BIN
# names one (by an absolute path). Needs python3 with venv (3.9 or newer, unless $python_minor says more), and cargo for the server.

client=${PWD##*/}
root="$PWD/../../.."
work="${CARGO_TARGET_DIR:-$root/target}/clients/$client"
python="$work/venv/bin/python"
: "${python_minor:=9}"

if ! python3 -c "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, $python_minor))" 2>/dev/null; then
    echo "tests/clients/$client needs python3, 3.$python_minor or newer, with venv (https://www.python.org/downloads; Debian and Ubuntu:" >&2
    echo "apt install python3-venv; macOS: brew install python)" >&2
    exit 1
fi

if ! cmp -s requirements.txt "$work/installed.txt"; then
    rm -rf "$work"
    mkdir -p "$work"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: --requirement requirements.txt
    cp requirements.txt "$work/installed.txt"
fi

if [ -z "${COUNTERSIGN_BIN:-}" ]; then
    "${CARGO:-cargo}" build --locked --quiet --bin countersign
    COUNTERSIGN_BIN="${CARGO_TARGET_DIR:-$root/target}/debug/countersign"
    export COUNTERSIGN_BIN
fi

# Loopback only: a proxy of the environment would be asked for it otherwise.
unset HTTP_PROXY http_proxy HTTPS_PROXY https_proxy ALL_PROXY all_proxy
export PYTHONPATH="$PWD/../grpcio" PYTHONDONTWRITEBYTECODE=1

# Generates the stubs of our protos anew, for those who speak gRPC.
stubs() {
    rm -rf "$work/stubs"
    mkdir "$work/stubs"
    "$python" -m grpc_tools.protoc --proto_path="$root/proto" --python_out="$work/stubs" \
        --grpc_python_out="$work/stubs" "$root"/proto/countersign/v1/*.proto
    PYTHONPATH="$work/stubs:$PYTHONPATH"
}
