//! Which chunk groups are in use right now, so that the reaper leaves them alone.
//!
//! An upload under way and a reader half way through a blob hold a [`Pin`] on the group. Pins live in memory
//! only: after a restart nobody is reading or uploading. They replace a long-lived read transaction, which
//! would keep every page freed since it began from being reused for as long as one slow client downloads.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::mpsc;

use super::{tables::Group, writer::Job};

pub(super) struct Pins {
    groups: Mutex<HashMap<Group, Held>>,
    /// Set when some unpublished group may be ready to be reclaimed.
    garbage: AtomicBool,
    /// Wakes the writer. Weak, so that a forgotten reader does not keep the store open.
    writer: mpsc::WeakSender<Job>,
}

#[derive(Default)]
struct Held {
    holders: usize,
    /// The reaper came by and left because of the holders.
    awaited: bool,
}

/// Keeps the chunks of one group from being reclaimed while it lives.
pub(super) struct Pin {
    group: Group,
    pins: Arc<Pins>,
    /// Whether the group is surely garbage unless it was published meanwhile.
    upload: bool,
}

impl Pins {
    pub(super) fn new(writer: mpsc::WeakSender<Job>) -> Arc<Self> {
        // What an earlier process left half uploaded or half deleted is garbage from the start.
        Arc::new(Self { groups: Mutex::default(), garbage: AtomicBool::new(true), writer })
    }

    /// Pins a group that is published or about to be looked up again.
    pub(super) fn reader(self: &Arc<Self>, group: Group) -> Arc<Pin> {
        self.pin(group, false)
    }

    /// Pins the group of a new upload; letting go of it wakes the reaper.
    pub(super) fn upload(self: &Arc<Self>, group: Group) -> Arc<Pin> {
        self.pin(group, true)
    }

    fn pin(self: &Arc<Self>, group: Group, upload: bool) -> Arc<Pin> {
        self.groups().entry(group).or_default().holders += 1;
        Arc::new(Pin { group, pins: Arc::clone(self), upload })
    }

    /// Whether somebody holds the group; if so, the last holder will call the reaper back.
    pub(super) fn is_held(&self, group: Group) -> bool {
        match self.groups().get_mut(&group) {
            Some(held) => {
                held.awaited = true;
                true
            }
            None => false,
        }
    }

    pub(super) fn note_garbage(&self) {
        self.garbage.store(true, Ordering::SeqCst);
    }

    pub(super) fn take_garbage(&self) -> bool {
        self.garbage.swap(false, Ordering::SeqCst)
    }

    /// Lets a sleeping writer look round. A full queue needs no waking.
    pub(super) fn wake_writer(&self) {
        if let Some(writer) = self.writer.upgrade() {
            let _ = writer.try_send(Job::Wake);
        }
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Group, Held>> {
        // Every critical section leaves the map whole, so a poisoned lock is still good.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pin {
    pub(super) fn group(&self) -> Group {
        self.group
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut groups = self.pins.groups();
        let Some(held) = groups.get_mut(&self.group) else { return };
        held.holders -= 1;
        if held.holders > 0 {
            return;
        }
        let reclaimable = held.awaited || self.upload;
        groups.remove(&self.group);
        drop(groups);
        if reclaimable {
            self.pins.note_garbage();
            self.pins.wake_writer();
        }
    }
}
