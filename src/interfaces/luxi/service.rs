//! What the protocol needs of a master.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::runtime::{
    Answer, AutoArchived, CancelAnswer, ClientId, ClientTold, ConfigWriter, Explanation,
    FilterState, Follower, JobView, LockOptions, LockOverview, Master, PieceOfList, Stats,
};
use crate::vocabulary::{
    Error, FeedbackEntry, FilterId, Hierarchy, JobId, LockRequest, NewFilter, NewJob, Priority,
    Status, SubmissionKey,
};

/// The queue behind the protocol: a [`Master`], or something else in a test.
///
/// No method may block, but for those that say so; callbacks may come on any thread.
pub trait Service: Send + Sync + 'static {
    /// As [`Master::begin_submit`].
    ///
    /// # Errors
    ///
    /// `Invalid`, `Refused`, `Stopped`.
    fn begin_submit(&self, jobs: Vec<NewJob>) -> Result<Answer<Vec<JobId>>, Error>;

    /// As [`Master::begin_submit_although_drained`].
    ///
    /// # Errors
    ///
    /// `Invalid`, `Refused`, `Stopped`.
    fn begin_submit_although_drained(&self, jobs: Vec<NewJob>)
    -> Result<Answer<Vec<JobId>>, Error>;

    /// As [`Master::begin_submit_once`].
    ///
    /// # Errors
    ///
    /// `Invalid`, `Refused`, `Stopped`.
    fn begin_submit_once(
        &self,
        key: &SubmissionKey,
        jobs: Vec<NewJob>,
    ) -> Result<Answer<Vec<JobId>>, Error>;

    /// As [`Master::set_drained`].
    ///
    /// # Errors
    ///
    /// `Stopped`.
    fn set_drained(&self, drained: bool) -> Result<Answer<()>, Error>;

    /// As [`Master::is_drained`].
    fn is_drained(&self) -> Answer<bool>;

    /// As [`Master::cancel`].
    ///
    /// # Errors
    ///
    /// `NotFound`, `Stopped`.
    fn cancel(&self, id: JobId) -> Result<Answer<CancelAnswer>, Error>;

    /// As [`Master::change_priority`].
    ///
    /// # Errors
    ///
    /// `NotFound`, `Refused` where the job has ended, `Stopped`.
    fn change_priority(&self, id: JobId, priority: Priority) -> Result<Answer<()>, Error>;

    /// As [`Master::job`].
    fn job(&self, id: JobId) -> Option<Answer<JobView>>;

    /// As [`Master::jobs_after`].
    fn jobs_after(&self, after: Option<JobId>) -> Answer<Vec<JobView>>;

    /// As [`Master::jobs_of_status_after`].
    fn jobs_of_status_after(
        &self,
        after: Option<JobId>,
        statuses: &[Status],
    ) -> Answer<PieceOfList> {
        let Answer { value: mut jobs, position } = self.jobs_after(after);
        let end = jobs.last().map(|view| view.job.id);
        jobs.retain(|view| statuses.contains(&view.status));
        Answer { value: PieceOfList { jobs, end }, position }
    }

    /// As [`Master::last_id`].
    fn last_id(&self) -> Option<JobId>;

    /// As [`Master::archived`]. May block.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt`.
    fn archived(&self, id: JobId) -> Result<Option<JobView>, Error>;

    /// As [`Master::archived_together`].
    fn archived_together(&self, id: JobId) -> JobId;

    /// As [`Master::archived_from`]. May block.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt`, what `each` says.
    fn archived_from(
        &self,
        from: JobId,
        each: &mut dyn FnMut(JobView) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// As [`Master::archive`]. May block.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Refused`, `Io`, `Corrupt`, `Stopped`.
    fn archive(&self, id: JobId) -> Result<Answer<bool>, Error>;

    /// As [`Master::auto_archive`]. May block.
    ///
    /// # Errors
    ///
    /// `Io`, `Corrupt`, `Stopped`.
    fn auto_archive(
        &self,
        older_than: Duration,
        budget: Duration,
    ) -> Result<Answer<AutoArchived>, Error>;

    /// As [`Master::config`]. Writing to it may block.
    fn config(&self) -> &ConfigWriter;

    /// As [`Master::progress`].
    fn progress(&self, id: JobId, after: u64) -> Option<Answer<(Status, Vec<FeedbackEntry>)>>;

    /// As [`Master::explain`].
    fn explain(&self, id: JobId) -> Option<Answer<Explanation>>;

    /// As [`Master::locks`].
    fn locks(&self, graph: bool) -> Answer<LockOverview>;

    /// As [`Master::add_filter`] without an id, else as [`Master::replace_filter`].
    ///
    /// # Errors
    ///
    /// `Invalid`, `Refused`, `Stopped`.
    fn set_filter(&self, id: Option<FilterId>, new: NewFilter) -> Result<Answer<FilterId>, Error>;

    /// As [`Master::delete_filter`].
    ///
    /// # Errors
    ///
    /// `NotFound`, `Stopped`.
    fn delete_filter(&self, id: FilterId) -> Result<Answer<()>, Error>;

    /// As [`Master::filters`].
    fn filters(&self) -> Answer<Vec<FilterState>>;

    /// As [`Master::stats`].
    fn stats(&self) -> Stats;

    /// The levels of locks that clients can hold, and the lock directory of the machine; none where
    /// clients cannot hold locks.
    fn levels(&self) -> Option<(Hierarchy, Option<PathBuf>)> {
        None
    }

    /// As [`Master::begin_client`].
    fn begin_client(&self, _title: &str) -> Option<ClientId> {
        None
    }

    /// As [`Master::lock_for`].
    fn lock_for(
        &self,
        _client: ClientId,
        _request: &LockRequest,
        _options: LockOptions,
        _told: ClientTold,
    ) {
    }

    /// As [`Master::give_up`], with who is in the way where it waited.
    fn give_up(&self, _client: ClientId) -> Option<String> {
        None
    }

    /// As [`Master::unlock_for`].
    fn unlock_for(&self, _client: ClientId) {}

    /// As [`Master::end_client`].
    fn end_client(&self, _client: ClientId) {}

    /// As [`Master::on_change`].
    fn on_change(&self, id: JobId, notify: Box<dyn FnOnce() + Send>) -> u64;

    /// As [`Master::forget`].
    fn forget(&self, id: JobId, registration: u64);

    /// As [`Master::follow`]; none where nobody can.
    fn follow(&self) -> Option<Follower> {
        None
    }

    /// As [`Master::on_durable`].
    fn on_durable(&self, position: u64, then: Box<dyn FnOnce(Result<(), Error>) + Send>);
}

impl Service for Master {
    fn begin_submit(&self, jobs: Vec<NewJob>) -> Result<Answer<Vec<JobId>>, Error> {
        Self::begin_submit(self, jobs, None)
    }

    fn begin_submit_although_drained(
        &self,
        jobs: Vec<NewJob>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        Self::begin_submit_although_drained(self, jobs, None)
    }

    fn begin_submit_once(
        &self,
        key: &SubmissionKey,
        jobs: Vec<NewJob>,
    ) -> Result<Answer<Vec<JobId>>, Error> {
        Self::begin_submit_once(self, key, jobs, None)
    }

    fn set_drained(&self, drained: bool) -> Result<Answer<()>, Error> {
        Self::set_drained(self, drained)
    }

    fn is_drained(&self) -> Answer<bool> {
        Self::is_drained(self)
    }

    fn cancel(&self, id: JobId) -> Result<Answer<CancelAnswer>, Error> {
        Self::cancel(self, id)
    }

    fn change_priority(&self, id: JobId, priority: Priority) -> Result<Answer<()>, Error> {
        Self::change_priority(self, id, priority)
    }

    fn job(&self, id: JobId) -> Option<Answer<JobView>> {
        Self::job(self, id)
    }

    fn jobs_after(&self, after: Option<JobId>) -> Answer<Vec<JobView>> {
        Self::jobs_after(self, after)
    }

    fn jobs_of_status_after(
        &self,
        after: Option<JobId>,
        statuses: &[Status],
    ) -> Answer<PieceOfList> {
        Self::jobs_of_status_after(self, after, statuses)
    }

    fn last_id(&self) -> Option<JobId> {
        Self::last_id(self)
    }

    fn archived(&self, id: JobId) -> Result<Option<JobView>, Error> {
        Self::archived(self, id)
    }

    fn archived_together(&self, id: JobId) -> JobId {
        Self::archived_together(self, id)
    }

    fn archived_from(
        &self,
        from: JobId,
        each: &mut dyn FnMut(JobView) -> Result<(), Error>,
    ) -> Result<(), Error> {
        Self::archived_from(self, from, each)
    }

    fn archive(&self, id: JobId) -> Result<Answer<bool>, Error> {
        Self::archive(self, id)
    }

    fn auto_archive(
        &self,
        older_than: Duration,
        budget: Duration,
    ) -> Result<Answer<AutoArchived>, Error> {
        Self::auto_archive(self, older_than, budget)
    }

    fn config(&self) -> &ConfigWriter {
        Self::config(self)
    }

    fn progress(&self, id: JobId, after: u64) -> Option<Answer<(Status, Vec<FeedbackEntry>)>> {
        Self::progress(self, id, after)
    }

    fn explain(&self, id: JobId) -> Option<Answer<Explanation>> {
        Self::explain(self, id)
    }

    fn locks(&self, graph: bool) -> Answer<LockOverview> {
        Self::locks(self, graph)
    }

    fn set_filter(&self, id: Option<FilterId>, new: NewFilter) -> Result<Answer<FilterId>, Error> {
        match id {
            None => self.add_filter(new),
            Some(id) => self.replace_filter(id, new),
        }
    }

    fn delete_filter(&self, id: FilterId) -> Result<Answer<()>, Error> {
        Self::delete_filter(self, id)
    }

    fn filters(&self) -> Answer<Vec<FilterState>> {
        Self::filters(self)
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn levels(&self) -> Option<(Hierarchy, Option<PathBuf>)> {
        Some((self.hierarchy().clone(), self.lock_dir().map(Path::to_owned)))
    }

    fn begin_client(&self, title: &str) -> Option<ClientId> {
        Some(Self::begin_client(self, title))
    }

    fn lock_for(
        &self,
        client: ClientId,
        request: &LockRequest,
        options: LockOptions,
        told: ClientTold,
    ) {
        Self::lock_for(self, client, request, options, told);
    }

    fn give_up(&self, client: ClientId) -> Option<String> {
        let in_the_way = self.in_the_way_of(client).unwrap_or_default();
        Self::give_up(self, client).then_some(in_the_way)
    }

    fn unlock_for(&self, client: ClientId) {
        Self::unlock_for(self, client);
    }

    fn end_client(&self, client: ClientId) {
        Self::end_client(self, client);
    }

    fn on_change(&self, id: JobId, notify: Box<dyn FnOnce() + Send>) -> u64 {
        Self::on_change(self, id, notify)
    }

    fn forget(&self, id: JobId, registration: u64) {
        Self::forget(self, id, registration);
    }

    fn follow(&self) -> Option<Follower> {
        Some(Self::follow(self))
    }

    fn on_durable(&self, position: u64, then: Box<dyn FnOnce(Result<(), Error>) + Send>) {
        Self::on_durable(self, position, then);
    }
}
