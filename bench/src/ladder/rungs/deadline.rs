//! A thread for every connection, with a deadline for every request.
//!
//! A thread that blocks in `read` for a client that has gone must be got out. Either each read is
//! preceded by a `poll` that ends in time, or a timer's signal interrupts it. The timer repeats: a
//! signal that comes just before the call begins to block would otherwise be lost.

use std::{io, time::Duration};

use nix::{
    sys::{
        signal::{SigEvent, SigevNotify, Signal},
        timer::{Expiration, Timer, TimerSetTimeFlags},
    },
    time::ClockId,
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    thread::gettid,
};

use super::thread::{PLAIN, each_connection};
use crate::ladder::{
    connection::{Connection, Sending, Turn, Worker},
    posix::let_alarms_interrupt,
    rung::{Rung, Setting},
};

/// By `poll`.
pub const POLL: Rung = Rung {
    name: "thread-poll",
    about: "a thread for every connection, a poll with a timeout before every read (4.2BSD's select, \
            1983)",
    serve: poll_first,
    ..PLAIN
};

/// By a signal.
pub const ALARM: Rung = Rung {
    name: "thread-alarm",
    about: "the same, with a timer's SIGALRM set and cleared around every read (alarm of V7 UNIX, \
            1979; timers of POSIX.1b, 1993)",
    serve: set_alarms,
    ..PLAIN
};

/// For the next request.
const PATIENCE: Duration = Duration::from_mins(1);

fn poll_first(setting: &Setting) -> io::Result<()> {
    let site = setting.site()?;
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    each_connection(setting, |socket| {
        let site = site.clone();
        move || {
            let mut worker = Worker::new(site, Sending::Sendfile);
            let mut connection = Connection::new(socket);
            while let Ok(1) = poll(&mut [PollFd::new(&connection, PollFlags::IN)], Some(&patience))
            {
                if let Turn::Closed = connection.turn(&mut worker) {
                    break;
                }
            }
        }
    })
}

fn set_alarms(setting: &Setting) -> io::Result<()> {
    let_alarms_interrupt()?;
    let site = setting.site()?;
    let (first, again) = (PATIENCE.into(), Duration::from_secs(1).into());
    let patience = Expiration::IntervalDelayed(first, again);
    let never = Expiration::OneShot(Duration::ZERO.into());
    each_connection(setting, |socket| {
        let site = site.clone();
        move || {
            let mut worker = Worker::new(site, Sending::Sendfile);
            let mut connection = Connection::new(socket);
            let Ok(mut timer) = timer_of_this_thread() else { return };
            while timer.set(patience, TimerSetTimeFlags::empty()).is_ok() {
                // Interrupted or over: both end it.
                if let Turn::Closed = connection.turn(&mut worker) {
                    break;
                }
                if timer.set(never, TimerSetTimeFlags::empty()).is_err() {
                    break;
                }
            }
        }
    })
}

fn timer_of_this_thread() -> nix::Result<Timer> {
    let notify = SigevNotify::SigevThreadId {
        signal: Signal::SIGALRM,
        thread_id: gettid().as_raw_nonzero().get(),
        si_value: 0,
    };
    Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(notify))
}
