# shellcheck shell=sh
# tests/support/cluster.sh - three RabbitMQ nodes, one cluster, for ./dev.
#
# The cluster lives in a network namespace of its own, which exists for as long as its epmd runs: a
# node is cut off by rules of a firewall there, and the machine's network is never touched. Node N
# has the address 127.0.0.1N, ports of its own, and a directory N below $CLUSTER_DIR that broker.sh
# works in. What speaks to the nodes has to be in the namespace too: ./dev cluster run.
#
# shellcheck disable=SC2154 # process_alive sets pid
# Sourced after broker.sh. Wants $ROOT and $CLUSTER_DIR. Needs root: namespaces and firewalls do.

CLUSTER_NODES="1 2 3"
CLUSTER_PORT=20000 # epmd's; nobody else is in this namespace

cluster_ports() { # N
    echo $((CLUSTER_PORT + $1 * 4))
}

cluster_inside() {
    [ "${CTASK_CLUSTER_INSIDE:-}" = "$CLUSTER_DIR" ]
}

cluster_epmd() {
    process_alive "$CLUSTER_DIR/epmd.pid"
}

# True when unshare and sh have become epmd: the namespace is whole.
cluster_is_made() {
    process_alive "$CLUSTER_DIR/epmd.pid" && [ "$(cat "/proc/$pid/comm")" = epmd ]
}

# Becomes this script in the namespace, which is made first if need be.
cluster_enter() { # verb and what belongs to it...
    if ! cluster_epmd; then
        [ "${1:-}" = start ] || die "no cluster runs in $CLUSTER_DIR; './dev cluster start' starts one"
        mkdir -p "$CLUSTER_DIR"
        addresses=127.0.0.1$(for n in $CLUSTER_NODES; do printf ,127.0.0.1%s "$n"; done)
        setsid unshare --net sh -c "ip link set lo up && exec epmd -port $CLUSTER_PORT -address $addresses" \
            </dev/null >"$CLUSTER_DIR/epmd.log" 2>&1 &
        process_record $! "$CLUSTER_DIR/epmd.pid"
        ticks=100
        until cluster_is_made; do
            ticks=$((ticks - 1))
            [ "$ticks" -gt 0 ] || die "no network namespace: $(cat "$CLUSTER_DIR/epmd.log") (root is needed)"
            sleep 0.1
        done
    fi
    export CTASK_CLUSTER_INSIDE="$CLUSTER_DIR"
    exec nsenter --net="/proc/$pid/ns/net" "$ROOT/dev" cluster "$@"
}

# The following functions of broker.sh work on node N.
cluster_node() { # N
    case " $CLUSTER_NODES " in
    *" ${1:-none} "*) ;;
    *) die "which node? One of $CLUSTER_NODES" ;;
    esac
    BROKER_DIR=$CLUSTER_DIR/$1
    ports_set "$(cluster_ports "$1")"
}

cluster_configure() { # N
    mkdir -p "$CLUSTER_DIR/$1"
    echo "$CLUSTER_PORT" >"$CLUSTER_DIR/$1/epmd"
    cluster_ports "$1" >"$CLUSTER_DIR/$1/port"
    echo "127.0.0.1$1" >"$CLUSTER_DIR/$1/address"
    cluster_node "$1"
    broker_configure
    [ -e "$BROKER_DIR/.erlang.cookie" ] || echo ctask >"$BROKER_DIR/.erlang.cookie"
    chmod 600 "$BROKER_DIR/.erlang.cookie"
    {
        echo "# Of two halves the smaller one stands still: the one that RabbitMQ advises for three nodes."
        echo "cluster_partition_handling = pause_minority"
        echo "cluster_formation.peer_discovery_backend = classic_config"
        for n in $CLUSTER_NODES; do
            echo "cluster_formation.classic_config.nodes.$n = ctask$(($(cluster_ports "$n") + 1))@127.0.0.1$n"
        done
    } >"$BROKER_DIR/etc/conf.d/cluster.conf"
}

cluster_start_node() { # N
    cluster_node "$1"
    broker_running && return
    broker_boot
    broker_await
}

# All at once: new nodes look for each other, and one that was stopped waits for those that outlived
# it.
cluster_start() {
    for n in $CLUSTER_NODES; do
        cluster_configure "$n"
        broker_running || broker_boot
    done
    for n in $CLUSTER_NODES; do
        cluster_node "$n"
        broker_await
    done
}

cluster_stop() {
    for n in $CLUSTER_NODES; do
        cluster_node "$n"
        cluster_signal CONT
        process_end "$BROKER_DIR/broker.pid" 20 &
    done
    wait
    process_end "$CLUSTER_DIR/epmd.pid" 5
}

cluster_signal() { # name: to the node's process, if it runs
    process_alive "$BROKER_DIR/broker.pid" && kill "-$1" "$pid"
}

cluster_kill() { # N
    cluster_node "$1"
    cluster_signal KILL
    while process_alive "$BROKER_DIR/broker.pid"; do sleep 0.01; done
}

# Its machine is gone for all others, clients included; what it says to itself arrives.
cluster_cut() { # N
    cluster_node "$1"
    nft -f - <<END
add table inet cluster
add chain inet cluster input { type filter hook input priority 0; }
add rule inet cluster input ip saddr $(node_address) ip daddr != $(node_address) drop
add rule inet cluster input ip daddr $(node_address) ip saddr != $(node_address) drop
END
}

cluster_heal() {
    nft delete table inet cluster 2>/dev/null
    for n in $CLUSTER_NODES; do
        cluster_node "$n"
        cluster_signal CONT
    done
    true
}

cluster_urls() {
    for n in $CLUSTER_NODES; do
        printf '%samqp://guest:guest@127.0.0.1%s:%s' "${separator:-}" "$n" $(($(cluster_ports "$n") + 1))
        separator=";"
    done
    echo
}
