//! A subscriber that keeps what is logged, each line led by the spans it stands in.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use lockmaster::runtime::lock_order::assert_no_locks_held;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::with_default;
use tracing::{Event, Level, Metadata, Subscriber};

/// What was logged, and which spans are open.
#[derive(Clone, Default)]
pub(crate) struct Observer {
    seen: Arc<Seen>,
    most: Option<Level>,
}

#[derive(Default)]
struct Seen {
    next: AtomicU64,
    /// Each that is open, with what it says.
    open: Mutex<Vec<(u64, String)>>,
    /// Those that this one thread is in.
    entered: Mutex<Vec<u64>>,
    lines: Mutex<Vec<String>>,
}

impl Observer {
    /// One that wants to hear of that level and what is worse.
    pub(crate) fn up_to(level: Level) -> Self {
        Self { most: Some(level), ..Self::default() }
    }

    /// Has what `body` logs kept.
    pub(crate) fn during<T>(&self, body: impl FnOnce() -> T) -> T {
        with_default(self.clone(), body)
    }

    /// What was logged since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lines.lock().unwrap())
    }

    /// How many spans are open.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.lock().unwrap().len()
    }

    fn text(&self, id: u64) -> String {
        let open = self.seen.open.lock().unwrap();
        open.iter().find(|(open, _)| *open == id).unwrap().1.clone()
    }
}

impl Subscriber for Observer {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.most.is_none_or(|most| *metadata.level() <= most)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        assert_no_locks_held("while a span is made");
        let id = self.seen.next.fetch_add(1, Ordering::Relaxed) + 1;
        let mut fields = Fields::default();
        span.record(&mut fields);
        let text = format!("{}{{{}}}", span.metadata().name(), fields.0);
        self.seen.open.lock().unwrap().push((id, text));
        Id::from_u64(id)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        assert_no_locks_held("while something is logged");
        let mut fields = Fields::default();
        event.record(&mut fields);
        let entered = self.seen.entered.lock().unwrap().clone();
        let spans: String = entered.into_iter().map(|id| self.text(id) + " ").collect();
        self.seen.lines.lock().unwrap().push(spans + &fields.0);
    }

    fn enter(&self, span: &Id) {
        assert_no_locks_held("while a span is entered");
        self.seen.entered.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, span: &Id) {
        let left = self.seen.entered.lock().unwrap().pop();
        assert_eq!(left, Some(span.into_u64()), "spans are left in the order of their nesting");
    }

    fn try_close(&self, id: Id) -> bool {
        self.seen.open.lock().unwrap().retain(|(open, _)| *open != id.into_u64());
        true
    }
}

/// `name=value` for each field but the message, which comes first as it is.
#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let space = if self.0.is_empty() { "" } else { " " };
        match field.name() {
            "message" => self.0 = format!("{value:?}{space}{}", self.0),
            name => self.0 += &format!("{space}{name}={value:?}"),
        }
    }
}
