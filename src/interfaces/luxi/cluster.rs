//! What Ganeti's clients ask about a cluster, answered for a master that has none: as little as
//! they can do with.

use serde_json::{Map, Value, json};

use super::errand::{Errand, Held, Lane};
use super::message::{Failure, Request, success};
use super::methods::Reply;
use super::peer::Peer;
use super::service::Service;
use crate::runtime::Answer;
use crate::vocabulary::{Error, ErrorKind};

/// What stands for the cluster, and for the machine the daemon runs on.
const CLUSTER: &str = "lockmaster";
const MASTER_NODE: &str = "master";
/// The version of LUXI that is spoken: Ganeti 3.0.
const PROTOCOL: u32 = 3_000_000;

/// `QueryConfigValues`: `[names]`. Unknown ones are null.
pub(super) fn config_values(service: &dyn Service, request: &Request) -> Result<Reply, Failure> {
    let (names,): (Vec<String>,) = request.args()?;
    let Answer { value: drained, position } = service.is_drained();
    let config = service.config().read();
    let value = |name: &String| match name.as_str() {
        "cluster_name" => json!(CLUSTER),
        "master_node" => json!(MASTER_NODE),
        "drain_flag" => json!(drained),
        "watcher_pause" => pause_of(&config.value),
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
    peer.did("SetDrainFlag", &json!({ "drained": drained }));
    Ok(Reply::of(&json!(true), answer.position))
}

/// The key of the configuration that keeps until when watchers are to pause.
const WATCHER_PAUSE: &str = "watcher_pause";

/// `SetWatcherPause`: `[until]`, in seconds of the clock, or null. There is no watcher here; it is
/// kept for those who ask, also over a restart.
pub(super) fn set_watcher_pause(peer: Peer, request: &Request) -> Result<Reply, Failure> {
    let (until,): (Option<f64>,) = request.args()?;
    Ok(Reply::Errand(Errand::new(Lane::Writing, move |desk| {
        desk.service.config().update(None, |config| {
            let config = config.as_object_mut().ok_or_else(not_an_object)?;
            match until {
                Some(until) => config.insert(WATCHER_PAUSE.to_owned(), json!(until)),
                None => config.remove(WATCHER_PAUSE),
            };
            Ok(())
        })?;
        peer.did("SetWatcherPause", &json!({ "until": until }));
        Ok(Held { answer: success(&until), position: 0 })
    })))
}

fn not_an_object() -> Error {
    Error::new(ErrorKind::Refused, "the configuration is not an object")
}

/// Until when watchers are to pause, in whole seconds as Ganeti has it.
#[expect(clippy::cast_possible_truncation, reason = "a float that is too large is cut")]
fn pause_of(config: &Value) -> Value {
    config[WATCHER_PAUSE].as_f64().map_or(Value::Null, |until| json!(until as i64))
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
