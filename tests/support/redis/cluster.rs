//! A Redis Cluster of three primaries that share the slots.

use super::{Redis, Spec, free_port, until};

pub const NODES: usize = 3;
const SLOTS: usize = 16_384;

pub struct Cluster {
    pub nodes: Vec<Redis>,
}

impl Cluster {
    /// Starts the nodes and has them meet; returns when every one of them knows of all slots.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..NODES {
            let spec = Spec::default()
                .set("cluster-enabled", "yes")
                .set("cluster-port", &free_port().to_string())
                .set("cluster-config-file", "nodes.conf")
                .set("cluster-node-timeout", "1000");
            nodes.push(Redis::with(&spec).await);
        }
        let cluster = Self { nodes };
        cluster.divide().await;
        cluster
    }

    async fn divide(&self) {
        for (place, node) in self.nodes.iter().enumerate() {
            let (first, end) = (place * SLOTS / NODES, (place + 1) * SLOTS / NODES);
            node.ask::<()>(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &(end - 1).to_string()]).await;
            // Epochs that differ from the start need not be fought over.
            node.ask::<()>(&["CLUSTER", "SET-CONFIG-EPOCH", &(place + 1).to_string()]).await;
        }
        for node in &self.nodes[1..] {
            let bus = node.ask::<Vec<String>>(&["CONFIG", "GET", "cluster-port"]).await;
            let port = node.port.to_string();
            self.nodes[0].ask::<()>(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus[1]]).await;
        }
        until("the cluster is whole", async || {
            for node in &self.nodes {
                let info: String = node.try_ask(&["CLUSTER", "INFO"]).await.unwrap_or_default();
                let whole = info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{NODES}"));
                if !whole || !info.contains(&format!("cluster_slots_ok:{SLOTS}")) {
                    return false;
                }
            }
            true
        })
        .await;
    }

    /// Moves every slot in which one node has something to another one, with all that is in it.
    pub async fn hand_over(&self, from: usize, to: usize) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let id = async |node: &Redis| node.ask::<String>(&["CLUSTER", "MYID"]).await;
        let (giver, taker) = (id(from).await, id(to).await);
        let mut slots = Vec::new();
        for key in from.keys().await {
            slots.push(from.ask::<u16>(&["CLUSTER", "KEYSLOT", &key]).await);
        }
        slots.sort_unstable();
        slots.dedup();
        for slot in slots.iter().map(ToString::to_string) {
            to.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &giver]).await;
            from.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &taker]).await;
            loop {
                let keys: Vec<Vec<u8>> = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
                if keys.is_empty() {
                    break;
                }
                from.migrate(to.port, &keys).await;
            }
            for node in [to, from].into_iter().chain(self.nodes.iter()) {
                node.ask::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &taker]).await;
            }
        }
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }
}
