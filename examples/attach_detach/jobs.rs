//! The same as jobs of three opcodes: what was done is taken back by the opcodes themselves, and
//! what is to be taken back is on disk.

use lockmaster::vocabulary::JobTerms;
use lockmaster::{
    Context, CrashPolicy, DeclaredLocks, Error, LogicalUnit, NewJob, OpError, TypedOp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::backend::{Backend, at};
use super::calls::{Connector, Volume};

/// What all of these opcodes are about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subject {
    pub(crate) volume: String,
    pub(crate) instance: String,
    pub(crate) host: String,
    pub(crate) backend: Backend,
}

impl Subject {
    pub(crate) fn new(volume: &str, instance: &str, backend: &Backend) -> Self {
        let [volume, instance, host] = [volume, instance, "host1"].map(str::to_owned);
        Self { volume, instance, host, backend: backend.clone() }
    }

    fn of<'a>(&'a self, context: &'a Context) -> Volume<'a> {
        Volume { config: context.config(), backend: &self.backend, name: &self.volume }
    }

    fn connector(&self) -> Connector {
        Connector::new(&self.instance, &self.host)
    }
}

/// An opcode under the lock of its volume: what it does, how it is taken back, and what its
/// master's death means.
macro_rules! opcode {
    ($(#[$about:meta])* $name:ident, $id:literal, $crash:ident, $execute:expr, $undo:expr) => {
        $(#[$about])*
        #[derive(Debug, Serialize, Deserialize)]
        pub(crate) struct $name {
            #[serde(flatten)]
            pub(crate) subject: Subject,
        }

        impl TypedOp for $name {
            const ID: &'static str = $id;
        }

        impl LogicalUnit for $name {
            fn declare_locks(
                &mut self,
                level: &str,
                locks: &mut DeclaredLocks<'_>,
            ) -> Result<(), OpError> {
                if level == "volume" { locks.exclusive(&self.subject.volume) } else { Ok(()) }
            }

            fn execute(&mut self, context: &Context) -> Result<Value, OpError> {
                let execute: fn(&Subject, &Context) -> Result<Value, OpError> = $execute;
                execute(&self.subject, context)
            }

            fn can_undo(&self) -> bool {
                let undo: Option<Undo> = $undo;
                undo.is_some()
            }

            fn undo(&mut self, context: &Context) -> Result<(), OpError> {
                at("undo", &self.subject.volume);
                let undo: Option<Undo> = $undo;
                undo.map_or(Ok(()), |undo| undo(&self.subject, context))
            }

            fn on_crash(&self) -> CrashPolicy {
                CrashPolicy::$crash
            }
        }
    };
}

type Undo = fn(&Subject, &Context) -> Result<(), OpError>;

opcode!(
    /// Nobody else can have the volume from here on. The owner is the job.
    Reserve, "OP_VOLUME_RESERVE", Undo,
    |subject, context| {
        let owner = format!("job {}", context.job());
        subject.of(context).reserve(&owner, 0)?;
        Ok(Value::Null)
    },
    Some(|subject, context| {
        // Only what this job has reserved: its reservation may have been refused.
        let volume = subject.of(context);
        let ours = format!("job {}", context.job());
        if volume.read()["reservation"]["owner"] == ours {
            volume.unreserve()?;
        }
        Ok(())
    })
);

opcode!(
    /// The backend exports it to the host.
    Initialize, "OP_VOLUME_INITIALIZE", Undo,
    |subject, context| {
        at("intent", &subject.volume);
        Ok(subject.of(context).initialize_or_leave(&subject.connector())?)
    },
    Some(|subject, context| Ok(subject.of(context).uninitialize()?))
);

opcode!(
    /// The host connects, then it is written down. What is written is true, so a crash behind it
    /// changes nothing: it runs again, and finds that it is done. Where the connecting or the
    /// writing fails, the host lets go of it.
    Attach, "OP_VOLUME_ATTACH", Retry,
    |subject, context| {
        subject.backend.connect(&subject.volume)?;
        at("connected", &subject.volume);
        subject.of(context).attach(&subject.connector())?;
        Ok(Value::Null)
    },
    Some(|subject, _| Ok(subject.backend.disconnect(&subject.volume)?))
);

opcode!(
    /// From here on it is not to be used.
    BeginDetaching, "OP_VOLUME_BEGIN_DETACHING", Undo,
    |subject, context| {
        subject.of(context).begin_detaching()?;
        Ok(Value::Null)
    },
    Some(|subject, context| {
        // Once the host has let go of it, the only way is forward.
        if subject.backend.is_connected(&subject.volume)? {
            subject.of(context).roll_detaching()?;
        }
        Ok(())
    })
);

opcode!(
    /// The host lets go, then the backend does. Only forward.
    Terminate, "OP_VOLUME_TERMINATE", Retry,
    |subject, context| {
        subject.of(context).terminate()?;
        Ok(Value::Null)
    },
    None
);

opcode!(
    /// What others wait for, last.
    Detach, "OP_VOLUME_DETACH", Retry,
    |subject, context| {
        subject.of(context).detach(Some(&subject.instance))?;
        at("detached", &subject.volume);
        Ok(Value::Null)
    },
    None
);

opcode!(
    /// Needs the volume for itself, so it never overtakes a detach.
    Delete, "OP_VOLUME_DELETE", Retry,
    |subject, context| {
        subject.of(context).delete()?;
        Ok(Value::Null)
    },
    None
);

opcode!(
    /// Takes back what could not be taken back before.
    Recover, "OP_VOLUME_RECOVER", Retry,
    |subject, context| {
        let volume = subject.of(context);
        if volume.read()["recover"] == true {
            volume.uninitialize()?;
            volume.unreserve()?;
        }
        Ok(Value::Null)
    },
    None
);

/// The job that attaches.
pub(crate) fn attach(subject: &Subject) -> Result<NewJob, Error> {
    let [one, two, three] = std::array::from_fn(|_| subject.clone());
    let ops = [
        Reserve { subject: one }.opcode()?,
        Initialize { subject: two }.opcode()?,
        Attach { subject: three }.opcode()?,
    ];
    Ok(NewJob::of(ops).on_terms(keeping()))
}

/// The job that detaches.
pub(crate) fn detach(subject: &Subject) -> Result<NewJob, Error> {
    let [one, two, three] = std::array::from_fn(|_| subject.clone());
    let ops = [
        BeginDetaching { subject: one }.opcode()?,
        Terminate { subject: two }.opcode()?,
        Detach { subject: three }.opcode()?,
    ];
    Ok(NewJob::of(ops).on_terms(keeping()))
}

/// The volume's lock is kept from the first opcode to the last, undos included.
fn keeping() -> JobTerms {
    JobTerms { keep_locks: true, ..JobTerms::default() }
}
