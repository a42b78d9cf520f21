//! The tick that makes running guests yield.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use wasmtime::Engine;

use super::settings::TICK;

/// Ticks the engine's epoch while any guest runs; parked otherwise, so that an idle box does not wake up.
pub(super) struct Clock {
    running: Arc<AtomicUsize>,
    thread: thread::Thread,
}

/// While one lives, the clock ticks.
pub(super) struct Ticking(Arc<AtomicUsize>);

impl Clock {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let (weak_engine, count) = (engine.weak(), Arc::downgrade(&running));
        let handle = thread::Builder::new().name("sandbox-clock".to_owned()).spawn(move || {
            while let Some(busy) = Weak::upgrade(&count).map(|count| count.load(Ordering::Acquire) > 0) {
                if !busy {
                    thread::park();
                    continue;
                }
                thread::sleep(TICK);
                let Some(engine) = weak_engine.upgrade() else { return };
                engine.increment_epoch();
            }
        })?;
        Ok(Self { running, thread: handle.thread().clone() })
    }

    pub(super) fn tick(&self) -> Ticking {
        if self.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Ticking(self.running.clone())
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        // The thread sees that the count is gone; it may be parked and needs the push. The count is released first.
        self.running = Arc::new(AtomicUsize::new(0));
        self.thread.unpark();
    }
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
