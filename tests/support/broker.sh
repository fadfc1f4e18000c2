# shellcheck shell=sh
# tests/support/broker.sh - one private RabbitMQ node, for ./dev.
#
# Everything of it is below $BROKER_DIR: configuration, data, log, cookie, pids, ports. It listens
# on 127.0.0.1 only, has an epmd of its own, and neither needs nor touches a broker that runs
# already. It ends only processes that it started, found by pid and time of birth.
#
# Sourced. Wants $ROOT, $BROKER_DIR and the functions say and die. Uses sh, coreutils, /proc and
# bash's /dev/tcp (bash is essential in Debian): a bare chroot has no ps, nc or ss.

RABBITMQ_BIN=/usr/lib/rabbitmq/bin # not the wrapper in /usr/sbin: it changes user and reads /etc

# ---- Processes, by a file that holds pid and time of birth ----------------------------------

# Prints when a process was born, in clock ticks; fails if it is gone or a zombie.
process_birth() {
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # split on purpose; the name before the last ")" may hold anything
    set -- ${stat##*) }
    [ "$1" != Z ] && [ "$1" != X ] && echo "${20}"
}

# Fails if the process has ended already, and if the file cannot be written.
process_record() { # pid file
    birth=$(process_birth "$1") && echo "$1 $birth" >"$2"
}

process_alive() { # file
    [ -s "$1" ] && read -r pid birth <"$1" && [ -n "$birth" ] && [ "$(process_birth "$pid")" = "$birth" ]
}

process_end() { # file seconds: asks, waits so long, then insists
    if process_alive "$1"; then
        kill -TERM "$pid" 2>/dev/null
        ticks=$(($2 * 10))
        while process_alive "$1"; do
            ticks=$((ticks - 1))
            [ "$ticks" = 0 ] && kill -KILL "$pid" 2>/dev/null
            sleep 0.1
        done
    fi
    rm -f "$1"
}

# ---- Ports: epmd's, then the node's, the one for Erlang's distribution, the node's for TLS ----

ports_set() { # the first of four
    epmd_port=$(cat "$BROKER_DIR/epmd" 2>/dev/null || echo "$1")
    node_port=$(($1 + 1)) dist_port=$(($1 + 2)) tls_port=$(($1 + 3))
}

# A node of a cluster has an address of its own and shares epmd with the others (cluster.sh).
node_address() {
    cat "$BROKER_DIR/address" 2>/dev/null || echo 127.0.0.1
}

# Prints the sockets' inodes that listen on a port.
port_listeners() {
    sed -n "s/^ *[0-9]*: [0-9A-F]*:$(printf %04X "$1") [0-9A-F:]* 0A //p" \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ _ _ _ _ inode _; do
        echo "$inode"
    done
}

ports_free() {
    for port in "$epmd_port" "$node_port" "$dist_port" "$tls_port"; do
        [ -z "$(port_listeners "$port")" ] || return 1
    done
}

port_is_held_by() { # port pid
    for inode in $(port_listeners "$1"); do
        for fd in "/proc/$2/fd"/*; do
            [ "$(readlink "$fd")" = "socket:[$inode]" ] && return 0
        done
    done
    return 1
}

# Holding epmd's port is holding all four: whoever comes second sees its epmd end.
epmd_start() {
    ports_free || return 1
    setsid epmd -port "$epmd_port" -address 127.0.0.1 </dev/null >/dev/null 2>&1 &
    process_record $! "$BROKER_DIR/epmd.pid" || {
        kill $! 2>/dev/null
        return 1
    }
    while process_alive "$BROKER_DIR/epmd.pid"; do
        port_is_held_by "$epmd_port" "$pid" && return 0
        sleep 0.05
    done
    return 1
}

# The ports of last time if they are free, so that a client finds a restarted broker again.
ports_choose() {
    if [ -s "$BROKER_DIR/port" ]; then
        ports_set "$(cat "$BROKER_DIR/port")"
        epmd_start && return
    fi
    try=0
    while [ "$try" -lt 1000 ]; do
        # Below the range from which the kernel gives ports to connections.
        ports_set $((20000 + ($$ * 7 + try) % 2500 * 4))
        if epmd_start; then
            echo "$epmd_port" >"$BROKER_DIR/port"
            return
        fi
        try=$((try + 1))
    done
    die "no four free ports between 20000 and 30000"
}

# ---- The node ------------------------------------------------------------------------------

# Becomes a program that sees this node and nothing of the machine's RabbitMQ. The node's name
# holds an address because a bare chroot cannot resolve "localhost". Its threads sleep when they have
# nothing to do (sbwt): several nodes and the tests share the cores.
broker_env() {
    node_ip=$(node_address)
    interface="{$(echo "$node_ip" | tr . ,)}"
    exec env -i PATH="/usr/sbin:/usr/bin:/sbin:/bin:$PATH" LANG=C.UTF-8 HOME="$BROKER_DIR" \
        ERL_EPMD_PORT="$epmd_port" ERL_EPMD_ADDRESS=127.0.0.1 \
        ERL_CRASH_DUMP="$BROKER_DIR/log/erl_crash.dump" \
        RABBITMQ_NODENAME="ctask$node_port@$node_ip" RABBITMQ_USE_LONGNAME=true \
        RABBITMQ_NODE_IP_ADDRESS="$node_ip" RABBITMQ_NODE_PORT="$node_port" \
        RABBITMQ_DIST_PORT="$dist_port" \
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS="+sbwt none +sbwtdcpu none +sbwtdio none \
-kernel inet_dist_use_interface $interface inet_dist_connect_options [{ip,$interface}]" \
        RABBITMQ_CTL_ERL_ARGS="-kernel inet_dist_use_interface {127,0,0,1}" \
        RABBITMQ_CONF_ENV_FILE=/dev/null \
        RABBITMQ_CONFIG_FILE="$BROKER_DIR/etc/rabbitmq.conf" \
        RABBITMQ_CONFIG_FILES="$BROKER_DIR/etc/conf.d" \
        RABBITMQ_ADVANCED_CONFIG_FILE="$BROKER_DIR/etc/advanced.config" \
        RABBITMQ_ENABLED_PLUGINS_FILE="$BROKER_DIR/etc/enabled_plugins" \
        RABBITMQ_MNESIA_BASE="$BROKER_DIR/data" RABBITMQ_LOG_BASE="$BROKER_DIR/log" \
        RABBITMQ_PID_FILE="$BROKER_DIR/node.pid" \
        RUNNING_UNDER_SYSTEMD=true "$@" # it: the pid is the node's, no shell stands between
}

broker_configure() {
    [ -r /proc/self/stat ] || die "/proc is not mounted"
    mkdir -p "$BROKER_DIR/etc/conf.d" "$BROKER_DIR/data" "$BROKER_DIR/log" && [ -w "$BROKER_DIR" ] ||
        die "cannot write to $BROKER_DIR; name another directory in CTASK_BROKER_DIR"
    cp "$ROOT/broker-config/enabled_plugins" "$ROOT/broker-config/advanced.config" "$BROKER_DIR/etc/"
    grep -v '^load_definitions' "$ROOT/broker-config/rabbitmq.conf" >"$BROKER_DIR/etc/rabbitmq.conf"
    echo "load_definitions = $ROOT/broker-config/definitions.json" >>"$BROKER_DIR/etc/rabbitmq.conf"
}

# With CTASK_BROKER_TLS, a directory that tests/support/certs.sh made, the node also speaks TLS. With
# CTASK_BROKER_TLS_DEMAND=1 it wants a certificate from whom it speaks to. A handshake under valgrind
# on a busy machine takes longer than RabbitMQ's 5 s.
broker_configure_tls() {
    tls=$BROKER_DIR/etc/conf.d/tls.conf
    rm -f "$tls"
    [ -n "${CTASK_BROKER_TLS:-}" ] || return 0
    demand=false
    [ -z "${CTASK_BROKER_TLS_DEMAND:-}" ] || demand=true
    cat >"$tls" <<END
listeners.ssl.1 = $(node_address):$tls_port
ssl_options.cacertfile = $CTASK_BROKER_TLS/ca.pem
ssl_options.certfile = $CTASK_BROKER_TLS/server.pem
ssl_options.keyfile = $CTASK_BROKER_TLS/server.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = $demand
ssl_handshake_timeout = 60000
END
}

# Ready is a login, not a log line: to connection.start we answer start-ok as guest, and wait for
# connection.tune (class 10, method 30).
broker_answers() {
    # shellcheck disable=SC2016 # bash expands these
    timeout 5 bash -c '
        frame_read() {
            set -- $(head -c 7 <&3 | od -An -v -tu1)
            head -c $((($4 << 24 | $5 << 16 | $6 << 8 | $7) + 1)) <&3 | od -An -v -tx1
        }
        exec 3<>"/dev/tcp/$1/$0" || exit 1
        printf "AMQP\0\0\11\1" >&3
        frame_read >/dev/null
        printf "\1\0\0\0\0\0\44\0\12\0\13\0\0\0\0\5PLAIN\0\0\0\14\0guest\0guest\5en_US\316" >&3
        case $(frame_read) in
        " 00 0a 00 1e "*) exit 0 ;;
        esac
        exit 1' "$node_port" "$(node_address)" 2>/dev/null
}

broker_running() {
    process_alive "$BROKER_DIR/broker.pid" && ports_set "$(cat "$BROKER_DIR/port")"
}

broker_start() {
    broker_running && return
    broker_stop
    broker_configure
    ports_choose
    broker_configure_tls
    broker_boot
    broker_await
}

broker_boot() {
    (
        # shellcheck disable=SC3045 # dash has it
        ulimit -n 65536 2>/dev/null || ulimit -n "$(ulimit -H -n)"
        cd "$BROKER_DIR" || exit
        broker_env setsid "$RABBITMQ_BIN/rabbitmq-server" </dev/null >"$BROKER_DIR/log/start.log" 2>&1
    ) &
    process_record $! "$BROKER_DIR/broker.pid"
}

broker_await() {
    ticks=900
    until broker_answers; do
        ticks=$((ticks - 1))
        if [ "$ticks" = 0 ] || ! process_alive "$BROKER_DIR/broker.pid"; then
            tail -n 30 "$BROKER_DIR/log/start.log" >&2
            broker_stop
            die "RabbitMQ did not start; its logs are in $BROKER_DIR/log"
        fi
        sleep 0.1
    done
}

broker_stop() {
    process_end "$BROKER_DIR/broker.pid" 20
    process_end "$BROKER_DIR/epmd.pid" 5
}

broker_url() {
    broker_running || die "no broker runs in $BROKER_DIR; './dev broker start' starts one"
    echo "amqp://guest:guest@$(node_address):$node_port"
}

broker_tls_url() {
    broker_running || die "no broker runs in $BROKER_DIR; './dev broker start' starts one"
    [ -e "$BROKER_DIR/etc/conf.d/tls.conf" ] || die "the broker in $BROKER_DIR speaks no TLS"
    echo "amqps://guest:guest@$(node_address):$tls_port"
}

broker_ctl() {
    broker_running || die "no broker runs in $BROKER_DIR; './dev broker start' starts one"
    broker_env "$RABBITMQ_BIN/rabbitmqctl" "$@"
}
