//! What Ganeti's clients ask about a cluster, answered for a master that has none: as little as
//! they can do with.

use serde_json::{Map, Value, json};

use super::message::{Failure, Request};
use super::methods::{Peer, Reply};
use super::service::Service;
use crate::runtime::Answer;

/// What stands for the cluster, and for the machine the daemon runs on.
const CLUSTER: &str = "lockmaster";
const MASTER_NODE: &str = "master";
/// The version of LUXI that is spoken: Ganeti 3.0.
const PROTOCOL: u32 = 3_000_000;

/// `QueryConfigValues`: `[names]`. Unknown ones are null.
pub(super) fn config_values(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (names,): (Vec<String>,) = request.args()?;
    let Answer { value: drained, position } = service.is_drained();
    let value = |name: &String| match name.as_str() {
        "cluster_name" => json!(CLUSTER),
        "master_node" => json!(MASTER_NODE),
        "drain_flag" => json!(drained),
        _ => Value::Null,
    };
    Ok(Reply::of(&names.iter().map(value).collect(), position))
}

/// `SetDrainFlag`: `[flag]`.
pub(super) fn set_drain_flag(
    service: &dyn Service,
    peer: Peer,
    request: &Request,
) -> Result<Reply, Failure> {
    let (drained,): (bool,) = request.args()?;
    let answer = service.set_drained(drained)?;
    tracing::info!(uid = peer.uid, pid = peer.pid, drained, "drain flag");
    Ok(Reply::of(&json!(true), answer.position))
}

/// `SetWatcherPause`: `[until]`. There is no watcher, so there is nothing to pause.
pub(super) fn set_watcher_pause(request: &Request) -> Result<Reply, Failure> {
    let (until,): (Option<f64>,) = request.args()?;
    match until {
        None => Ok(Reply::of(&Value::Null, 0)),
        Some(_) => {
            Err(Failure::exception("GenericError", "lockmasterd has no watcher to be paused"))
        }
    }
}

/// `QueryClusterInfo`: the keys that `gnt-cluster info` and `version` look at.
pub(super) fn info() -> Reply {
    let mut info = Map::new();
    let mut put = |value: Value, keys: &[&str]| {
        info.extend(keys.iter().map(|key| ((*key).to_owned(), value.clone())));
    };
    let version = concat!("lockmaster ", env!("CARGO_PKG_VERSION"));
    put(json!(version), &["software_version", "vcs_version"]);
    put(json!(PROTOCOL), &["protocol_version", "config_version"]);
    put(json!(CLUSTER), &["name", "uuid"]);
    put(json!(MASTER_NODE), &["master"]);
    put(json!([format!("{}bits", usize::BITS), std::env::consts::ARCH]), &["architecture"]);
    put(json!(0), &["os_api_version", "export_version", "candidate_pool_size"]);
    put(json!(0), &["max_running_jobs", "max_tracked_jobs", "master_netmask", "ssh_key_bits"]);
    put(json!(4), &["primary_ip_version"]);
    put(json!(0.0), &["ctime", "mtime"]);
    put(json!([]), &["tags", "enabled_hypervisors", "reserved_lvs", "uid_pool", "hidden_os"]);
    put(json!([]), &["blacklisted_os", "enabled_disk_templates", "compression_tools"]);
    put(json!({}), &["hvparams", "os_hvp", "osparams", "beparams", "nicparams", "ndparams"]);
    put(json!({}), &["diskparams", "default_iallocator_params", "enabled_data_collectors"]);
    put(json!({}), &["data_collector_interval"]);
    put(json!(""), &["default_hypervisor", "mac_prefix", "master_netdev", "file_storage_dir"]);
    put(json!(""), &["shared_file_storage_dir", "gluster_storage_dir", "default_iallocator"]);
    put(json!(""), &["install_image", "instance_communication_network", "zeroing_image"]);
    put(json!(""), &["ssh_key_type"]);
    put(json!(null), &["volume_group_name", "drbd_usermode_helper"]);
    put(json!(false), &["use_external_mip_script", "maintain_node_health", "modify_ssh_setup"]);
    put(json!(false), &["prealloc_wipe_disks", "enabled_user_shutdown"]);
    put(limits_for_instances(), &["ipolicy"]);
    Reply::of(&Value::Object(info), 0)
}

/// The client insists on the shape of these limits.
fn limits_for_instances() -> Value {
    let none = json!({
        "memory-size": 0, "disk-size": 0, "disk-count": 0, "cpu-count": 0, "nic-count": 0,
        "spindle-use": 0,
    });
    json!({
        "minmax": [{ "min": none, "max": none }], "std": none, "disk-templates": [],
        "spindle-ratio": 1, "vcpu-ratio": 1,
    })
}
