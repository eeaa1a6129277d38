#!/usr/bin/env bash
# Prosody or ejabberd on 127.0.0.1:PORT for the domain relay.test, as any user; it becomes the server, so that its process is the
# script's. Ready when PORT accepts. FOLDER keeps accounts and messages: the same line starts it again after a kill.
#   xmpp.sh prosody|ejabberd PORT FOLDER [USER:PASSWORD...]
#   XMPP_TLS=1   STARTTLS is demanded, and FOLDER/ca.pem is what to trust      XMPP_LOG   its level (warn)
set -euo pipefail
engine=${1:?} port=${2:?} folder=${3:?}
shift 3
case $engine in
  prosody) command=prosody ;;
  ejabberd) command=erl ;;
  *)
    echo "xmpp.sh: prosody or ejabberd, not $engine" >&2
    exit 64
    ;;
esac
command -v "$command" >/dev/null || {
  echo "xmpp.sh: $engine is not installed; on Debian: apt-get install --no-install-recommends $engine" >&2
  exit 69
}
mkdir -p "$folder/data" "$folder/certs"
folder=$(cd "$folder" && pwd)
tls=false
[ -z "${XMPP_TLS:-}" ] || tls=true

# An authority of its own, and a certificate that names the domain.
certificates() {
  local curve=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${curve[@]}" -days 30 -subj '/CN=mneme test CA' -addext basicConstraints=critical,CA:TRUE \
    -keyout "$folder/ca.key" -out "$folder/ca.pem"
  openssl req "${curve[@]}" -subj /CN=relay.test -keyout "$folder/certs/relay.test.key" -out "$folder/ca.csr"
  openssl x509 -req -in "$folder/ca.csr" -CA "$folder/ca.pem" -CAkey "$folder/ca.key" -CAcreateserial -days 30 \
    -extfile <(echo subjectAltName=DNS:relay.test) -out "$folder/certs/relay.test.crt"
  cat "$folder/certs/relay.test.crt" "$folder/certs/relay.test.key" >"$folder/certs/both.pem"
}
if [ $tls = true ] && [ ! -e "$folder/certs/both.pem" ]; then
  certificates 2>>"$folder/log"
fi

prosody_server() {
  local config=$folder/prosody.cfg.lua modules='"roster", "saslauth", "disco", "ping"' account
  [ $tls = false ] || modules+=', "tls"'
  cat >"$config" <<END
run_as_root = true; daemonize = false; pidfile = "$folder/pid"
data_path = "$folder/data"; certificates = "$folder/certs"
interfaces = { "127.0.0.1" }; local_interfaces = { "127.0.0.1" }
c2s_ports = { $port }; c2s_direct_tls_ports = {}; s2s_ports = {}; http_ports = {}; https_ports = {}
modules_enabled = { $modules }; modules_disabled = { "s2s" }
c2s_require_encryption = $tls
network_settings = { nagle = false }
authentication = "internal_hashed"; storage = "internal"
log = { { levels = { min = "${XMPP_LOG:-warn}" }, to = "console" } }
VirtualHost "relay.test"
END
  for account in "$@"; do
    if ! grep -qxF -- "$account" "$folder/accounts" 2>/dev/null; then
      prosodyctl --config "$config" register "${account%%:*}" relay.test "${account#*:}" >>"$folder/log" 2>&1
      echo "$account" >>"$folder/accounts"
    fi
  done
  exec prosody -F --config "$config" >>"$folder/log" 2>&1 </dev/null
}

# Without a name for the node, so there is no port for other nodes. Accounts first: with the port it is ready.
ejabberd_server() {
  local libraries=(/usr/lib/*/ejabberd-*/ebin) level=${XMPP_LOG:-warning}
  [ "$level" != warn ] || level=warning
  cat >"$folder/closed.yml" <<END
hosts: [relay.test]
loglevel: $level
auth_method: [internal]
auth_password_format: scram
auth_scram_hash: sha256
shaper_rules: { max_user_sessions: 10, max_user_offline_messages: 5000 }
modules:
  mod_disco: {}
  mod_roster: {}
  mod_ping: {}
  mod_offline: { access_max_user_messages: max_user_offline_messages }
END
  {
    cat "$folder/closed.yml"
    [ $tls = false ] || echo "certfiles: [\"$folder/certs/both.pem\"]"
    echo "listen: [{ port: $port, ip: \"127.0.0.1\", module: ejabberd_c2s, max_stanza_size: 262144, starttls_required: $tls }]"
  } >"$folder/open.yml"
  export ERL_LIBS ERL_CRASH_DUMP_BYTES=0 EJABBERD_CONFIG_PATH=$folder/closed.yml EJABBERD_LOG_PATH=$folder/ejabberd.log
  ERL_LIBS=${ERL_LIBS:-$(dirname "$(dirname "${libraries[0]}")")}
  export XMPP_OPEN=$folder/open.yml XMPP_ACCOUNTS="$*"
  exec erl -noinput -mnesia dir "\"$folder/data\"" -s ejabberd -eval '
    [begin [User, Password] = string:split(Account, ":"),
           ejabberd_auth:try_register(list_to_binary(User), <<"relay.test">>, list_to_binary(Password))
     end || Account <- string:lexemes(os:getenv("XMPP_ACCOUNTS"), " ")],
    os:putenv("EJABBERD_CONFIG_PATH", os:getenv("XMPP_OPEN")),
    ok = ejabberd_config:reload().' >>"$folder/log" 2>&1 </dev/null
}

"${engine}_server" "$@"
