//! The six calls, and what belongs to them. Between two calls nobody holds a lock: the status in
//! the configuration is what keeps others out, and is changed only where it is as expected.

use lockmaster::runtime::{ConditionalUpdate, ConfigWriter, UpdateError};
use serde_json::{Value, json};

use super::backend::{Backend, Failed, at};

/// Who wants the volume where.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    pub(crate) instance: String,
    pub(crate) host: String,
    pub(crate) mode: String,
}

impl Connector {
    pub(crate) fn new(instance: &str, host: &str) -> Self {
        Self { instance: instance.to_owned(), host: host.to_owned(), mode: "rw".to_owned() }
    }
}

/// A volume, as the calls see it.
#[derive(Debug)]
pub(crate) struct Volume<'a> {
    pub(crate) config: &'a ConfigWriter,
    pub(crate) backend: &'a Backend,
    pub(crate) name: &'a str,
}

/// What a new volume is like.
pub(crate) fn new_volume() -> Value {
    json!({
        "status": "available", "attach_status": "detached", "migration_status": null,
        "multiattach": false, "readonly": false, "exported": false, "recover": false,
        "reservation": null, "attachments": {},
    })
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value[member].as_str().unwrap_or_default()
}

impl Volume<'_> {
    fn place(&self, member: &str) -> String {
        format!("/volumes/{}/{member}", self.name)
    }

    pub(crate) fn read(&self) -> Value {
        self.config.read().value["volumes"][self.name].clone()
    }

    pub(crate) fn status(&self) -> String {
        text(&self.read(), "status").to_owned()
    }

    fn update(&self, update: ConditionalUpdate) -> Result<(), UpdateError> {
        self.config.update_where(update).map(|_| ())
    }

    /// Looks at the volume and changes it, in one step; nothing is changed where it is refused.
    pub(crate) fn edit(
        &self,
        change: impl FnOnce(&mut Value) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        let mut refused = None;
        let written = self.config.update(None, |value| {
            let edited = match value.pointer_mut(&format!("/volumes/{}", self.name)) {
                Some(volume) => change(volume),
                None => Err(Failed::new("VolumeNotFound", self.name)),
            };
            edited.map_err(|failed| {
                let error = lockmaster::Error::invalid(failed.to_string());
                refused = Some(failed);
                error
            })
        });
        match (written, refused) {
            (_, Some(refused)) => Err(refused),
            (Err(error), None) => Err(Failed::new("ExportFailure", error.to_string())),
            (Ok(_), None) => Ok(()),
        }
    }

    fn not_in_maintenance(&self) -> Result<(), Failed> {
        match self.status().as_str() {
            "maintenance" => Err(Failed::new("InvalidVolume", "the volume is in maintenance")),
            _ => Ok(()),
        }
    }

    /// The first call: nobody else can have it from here on.
    pub(crate) fn reserve(&self, owner: &str, now: i64) -> Result<(), Failed> {
        let multiattach = self.read()["multiattach"].clone();
        let mut expected = vec![json!("available")];
        if multiattach == json!(true) {
            expected.push(json!("in-use"));
        }
        let reserve = ConditionalUpdate::new()
            .expect_one_of(&self.place("status"), expected)
            .expect(&self.place("multiattach"), multiattach)
            .set(&self.place("status"), json!("attaching"))
            .set(&self.place("reservation"), json!({ "owner": owner, "since": now }));
        self.update(reserve).map_err(|error| {
            let message = format!("Volume status must be available to reserve: {error}");
            Failed::new("InvalidVolume", message)
        })?;
        at("reserved", self.name);
        Ok(())
    }

    /// Takes [`reserve`](Self::reserve) back; nothing where there is nothing to take back.
    pub(crate) fn unreserve(&self) -> Result<(), Failed> {
        self.edit(|volume| {
            if text(volume, "status") == "attaching" {
                let attached = volume["attachments"].as_object().is_some_and(|all| {
                    all.values().any(|attachment| attachment["state"] == "attached")
                });
                volume["status"] = json!(if attached { "in-use" } else { "available" });
                volume["reservation"] = Value::Null;
            }
            Ok(())
        })
    }

    /// The second call: what the host needs to know to connect. Taken back where it fails.
    pub(crate) fn initialize(&self, connector: &Connector) -> Result<Value, Failed> {
        self.initialize_or_leave(connector).map_err(|failed| match failed.kind.as_str() {
            "InvalidInput" | "InvalidVolume" => failed,
            _ => match self.uninitialize() {
                Ok(()) => failed,
                Err(second) => failed.and(&second),
            },
        })
    }

    /// The same, for who takes it back in another way.
    pub(crate) fn initialize_or_leave(&self, connector: &Connector) -> Result<Value, Failed> {
        self.not_in_maintenance()?;
        if connector.host.is_empty() {
            return Err(Failed::new("InvalidInput", "the connector names no host"));
        }
        self.backend.create_export(self.name)?;
        at("exported", self.name);
        let saved = ConditionalUpdate::new()
            .expect(&self.place("exported"), json!(false))
            .set(&self.place("exported"), json!(true));
        let saved = self.update(saved);
        saved.map_err(|error| Failed::new("ExportFailure", error.to_string()))?;
        at("saved", self.name);
        self.backend.initialize_connection(self.name)?;
        at("initialized", self.name);
        Ok(json!({
            "driver_volume_type": "iscsi",
            "data": {
                "target": self.name, "access_mode": connector.mode, "encrypted": false,
                "qos_specs": null, "cacheable": false, "discard": false,
                "enforce_multipath": false,
            },
        }))
    }

    /// Takes an initialization back, however far it came. Every step is tried; the volume is
    /// marked where one fails, for a recovery to come.
    pub(crate) fn uninitialize(&self) -> Result<(), Failed> {
        let steps =
            [self.backend.terminate_connection(self.name), self.backend.remove_export(self.name)];
        let failed = steps.into_iter().filter_map(Result::err).reduce(|one, two| one.and(&two));
        self.edit(|volume| {
            volume["exported"] = json!(failed.is_some());
            volume["recover"] = json!(failed.is_some());
            Ok(())
        })?;
        failed.map_or(Ok(()), Err)
    }

    /// The third call, when the host is connected: the record and the status in one write.
    pub(crate) fn attach(&self, connector: &Connector) -> Result<(), Failed> {
        self.not_in_maintenance()?;
        let Connector { instance, host, mode } = connector;
        let mut wrong_mode = false;
        self.edit(|volume| {
            if text(volume, "status") == "available" {
                // The reservation has expired, and its export went with it.
                return Err(Failed::new("InvalidVolume", "the volume is not reserved"));
            }
            wrong_mode = volume["readonly"] == true && mode == "rw";
            let state = if wrong_mode { "error_attaching" } else { "attached" };
            let others = volume["attachments"].as_object().into_iter().flatten();
            let mut others = others.filter(|(_, one)| one["state"] == "attached");
            let taken = others.any(|(id, _)| id != instance);
            if taken && volume["multiattach"] != true {
                return Err(Failed::new("InvalidVolume", "another instance has it"));
            }
            volume["attachments"][instance.as_str()] =
                json!({ "host": host, "mode": mode, "state": state });
            if !wrong_mode {
                volume["status"] = json!("in-use");
                volume["attach_status"] = json!("attached");
                volume["reservation"] = Value::Null;
            }
            Ok(())
        })?;
        if wrong_mode {
            return Err(Failed::new("InvalidVolumeAttachMode", "the volume is read-only"));
        }
        at("recorded", self.name);
        Ok(())
    }

    /// The fourth call. A volume that migrates is passed over in silence.
    pub(crate) fn begin_detaching(&self) -> Result<(), Failed> {
        let begin = ConditionalUpdate::new()
            .expect(&self.place("status"), json!("in-use"))
            .expect(&self.place("attach_status"), json!("attached"))
            .expect_one_of(
                &self.place("migration_status"),
                [Value::Null, json!("deleting"), json!("error"), json!("success")],
            )
            .set(&self.place("status"), json!("detaching"));
        if let Err(error) = self.update(begin) {
            let migrates = error.mismatch().is_some_and(|mismatch| {
                mismatch.unmet.iter().any(|unmet| unmet.place.ends_with("migration_status"))
            });
            return match migrates {
                true => Ok(()),
                false => Err(Failed::new("InvalidVolume", error.to_string())),
            };
        }
        at("detaching", self.name);
        Ok(())
    }

    /// Takes [`begin_detaching`](Self::begin_detaching) back.
    pub(crate) fn roll_detaching(&self) -> Result<(), Failed> {
        self.edit(|volume| {
            if text(volume, "status") == "detaching" {
                volume["status"] = json!("in-use");
            }
            Ok(())
        })
    }

    /// The fifth call: the host first, and the backend when it is done. Once begun it can only go
    /// on, and may be repeated.
    pub(crate) fn terminate(&self) -> Result<(), Failed> {
        at("terminating", self.name);
        self.backend.disconnect(self.name)?;
        at("disconnected", self.name);
        self.backend.terminate_connection(self.name)?;
        self.backend.remove_export(self.name)?;
        self.edit(|volume| {
            volume["exported"] = json!(false);
            Ok(())
        })?;
        at("terminated", self.name);
        Ok(())
    }

    /// The sixth call, which others wait for: the status is what the attachments that are left say.
    pub(crate) fn detach(&self, instance: Option<&str>) -> Result<(), Failed> {
        self.not_in_maintenance()?;
        self.edit(|volume| {
            let busy = matches!(text(volume, "status"), "uploading" | "retyping");
            if let Some(attachments) = volume["attachments"].as_object_mut() {
                match instance {
                    Some(instance) => _ = attachments.remove(instance),
                    None if attachments.len() > 1 => {
                        return Err(Failed::new("InvalidVolume", "which of its attachments?"));
                    }
                    None => attachments.clear(),
                }
            }
            let left = derived(volume);
            volume["attach_status"] = json!(left);
            if !busy && volume["migration_status"].is_null() {
                volume["status"] = json!(match left {
                    "attached" => "in-use",
                    "detached" => "available",
                    other => other,
                });
            }
            Ok(())
        })
    }

    /// Removes the volume, where nothing uses it.
    pub(crate) fn delete(&self) -> Result<(), Failed> {
        let delete = ConditionalUpdate::new()
            .expect_one_of(&self.place("status"), [json!("available"), json!("error")])
            .expect_none_of(&self.place("attach_status"), [json!("attached")])
            .expect(&self.place("migration_status"), Value::Null)
            .set(&self.place("status"), json!("deleting"));
        self.update(delete).map_err(|error| Failed::new("InvalidVolume", error.to_string()))?;
        self.backend.delete(self.name)?;
        let gone = ConditionalUpdate::new().remove(&format!("/volumes/{}", self.name));
        self.update(gone).map_err(|error| Failed::new("InvalidVolume", error.to_string()))
    }
}

/// What the attachments that are left make of the volume: attached above all.
fn derived(volume: &Value) -> &'static str {
    let attachments = volume["attachments"].as_object();
    let states: Vec<&str> = attachments
        .into_iter()
        .flat_map(|all| all.values().map(|one| text(one, "state")))
        .collect();
    let order = ["attached", "attaching", "detaching", "reserved"];
    order.into_iter().find(|state| states.contains(state)).unwrap_or("detached")
}
