//! One suite for every [`Transport`]: what a server and a client may rely on, whatever carries it.
//!
//! A transport's own test file implements [`Harness`] for a pair of stacks that reach each other and
//! lists the suite with [`transport_suite!`]. Both ends live on one thread; the harness decides what
//! time is.

pub mod closing;
pub mod content;
pub mod streams;
pub mod world;

use std::net::SocketAddr;

use pagewire_driver::Instant;
use pagewire_stack::{EventBatch, Transport};

/// Two transports that reach each other.
pub trait Harness {
    /// The end that listens.
    type Server: Transport;
    /// The end that connects.
    type Client: Transport;

    /// The end that listens.
    fn server(&mut self) -> &mut Self::Server;

    /// The end that connects.
    fn client(&mut self) -> &mut Self::Client;

    /// Where the server listens.
    fn address(&self) -> SocketAddr;

    /// An address of the server's machine where nobody listens.
    fn closed_address(&self) -> SocketAddr;

    /// The present.
    fn now(&self) -> Instant;

    /// Lets both ends do what is due, and a little time pass, at least when nothing happens. At most
    /// a millisecond of real time, so that helper threads get on.
    fn step(&mut self, server_events: &mut EventBatch, client_events: &mut EventBatch);
}

/// Makes a `#[test]` of every case of the suite on the harness that the expression makes.
#[macro_export]
macro_rules! transport_suite {
    ($harness:expr) => {
        $crate::transport_suite!($harness;
            streams {
                both_ends_open_and_bytes_come_back,
                parts_of_every_kind_arrive_in_order_and_whole,
                submissions_queue_behind_each_other_and_too_many_are_refused,
                a_reader_that_stops_holds_the_sender_back_and_loses_nothing,
                a_sender_is_held_back_at_the_head_limit_and_loses_nothing,
                small_answers_pass_a_large_transfer,
                bytes_and_end_that_arrive_together_are_both_reported,
            }
            closing {
                close_after_sent_delivers_everything_first,
                a_concluded_connection_delivers_everything_first,
                an_end_from_the_client_leaves_the_server_free_to_answer,
                bytes_that_arrive_while_closing_do_not_reset,
                close_now_is_a_reset_for_the_peer,
                a_peer_that_vanishes_mid_transfer_is_a_reset,
                an_old_id_does_nothing,
                a_closing_connection_takes_no_more,
                a_refused_connect_is_unreachable,
                a_peer_that_never_closes_is_given_up,
                thousands_of_connections_leave_no_slot_in_use,
            }
            content {
                a_file_cut_short_ends_its_own_transfer_only,
                a_file_cut_inside_its_last_page_is_not_completed,
                a_file_rewritten_in_place_is_not_completed,
                a_file_replaced_or_unlinked_is_sent_to_its_end,
                a_range_beyond_its_object_is_not_completed,
                a_cold_file_arrives_whole,
            }
        );
    };
    ($harness:expr; $($module:ident { $($case:ident,)+ })+) => {
        $($(
            #[test]
            fn $case() {
                let mut world = transport_suite::world::World::new($harness);
                transport_suite::$module::$case(&mut world);
            }
        )+)+
    };
}
