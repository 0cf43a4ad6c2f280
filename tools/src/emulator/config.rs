//! What can be asked of the link, and what that means for each frame.

use std::time::Duration;

use pagewire_driver::{BurstLoss, Impairment, RateStep};
use thiserror::Error;

use super::units::{Bursts, HeldBack, PathMtu, Queue, Rate, RateSteps, Share, Span, whole};

/// The link to emulate. The default asks for none.
#[derive(Clone, Debug, Default, PartialEq, clap::Args)]
#[command(next_help_heading = "Link emulator (any of these puts one before the client)")]
pub struct LinkConfig {
    /// How long every packet is under way, in each direction: the round trip is twice that
    ///
    /// Times are like 20ms, 1.5s or 500us. The emulator takes some microseconds of CPU time with every
    /// packet, in a process of its own, and delivers within a tenth of a millisecond after the packet
    /// is due while a core is free for it. What it cannot keep up with, it counts apart: see `pw lab
    /// status`. 0ms asks for a link that does nothing.
    #[arg(long, value_name = "TIME")]
    pub delay: Option<Span>,

    /// Up to how much longer, in each direction, evenly spread
    ///
    /// Packets closer together than this overtake each other.
    #[arg(long, value_name = "TIME")]
    pub jitter: Option<Span>,

    /// What the link carries, in each direction: 100mbit, 1.5gbit
    ///
    /// Bits per second of Ethernet frames as a capture shows them, so 14 bytes more than the packet and
    /// without preamble, checksum and gap.
    #[arg(long, value_name = "RATE")]
    pub rate: Option<Rate>,

    /// A rate that takes turns with --rate, and how long each lasts: 25mbit,2s
    ///
    /// The link begins with --rate. A queue of so many bdp is meant at --rate.
    #[arg(long, value_name = "RATE,TIME", requires = "rate")]
    pub rate_step: Option<RateSteps>,

    /// What waits in front of the rate before packets are dropped: 1bdp, 64k, 200p [default: 1bdp, but
    /// at least 64k]
    ///
    /// `1bdp` is the rate times the round trip of twice --delay: 500,000 bytes at 100mbit and 20ms;
    /// 0.5bdp is half of it, but never less than two full packets. `64k` is 65,536 bytes of frames,
    /// `200p` 200 packets of any size, the one on its way out included. Each direction has a queue;
    /// what finds it full is dropped (drop-tail).
    #[arg(long, value_name = "SIZE", requires = "rate")]
    pub queue: Option<Queue>,

    /// Share of the packets lost at random, each by itself, in each direction: 1%, 0.01%
    #[arg(long, value_name = "SHARE")]
    pub loss: Option<Share>,

    /// Packets lost in bursts: 1%,8 loses 1% of all, 8 in a row in the mean
    ///
    /// The model of Gilbert and Elliott, in each direction: the link is good or bad, and loses while it
    /// is bad. LEN is the mean length of a bad time in packets [default: 8]; WITHIN the share of the
    /// packets lost in it [default: 100%]. The loss of good times is --loss.
    #[arg(long, value_name = "SHARE[,LEN[,WITHIN]]")]
    pub burst_loss: Option<Bursts>,

    /// Share of the packets held back besides, in each direction, and for how long: 1%,5ms [default
    /// time: 1ms]
    ///
    /// Those that come meanwhile overtake them.
    #[arg(long, value_name = "SHARE[,TIME]")]
    pub reorder: Option<HeldBack>,

    /// Share of the packets that arrive twice, in each direction
    #[arg(long, value_name = "SHARE")]
    pub duplicate: Option<Share>,

    /// Share of the packets of which one bit, anywhere in the frame, is flipped, in each direction
    ///
    /// Checksums are as the sender made them.
    #[arg(long, value_name = "SHARE")]
    pub corrupt: Option<Share>,

    /// The largest packet that the path carries, though both interfaces take more: 1300, or 1300,silent
    ///
    /// Larger ones are dropped, in each direction, don't-fragment bit or not. Their sender is told by ICMP
    /// (fragmentation needed, or packet too big), as if by the destination; with `silent` it is not: the
    /// path is then what is called a black hole.
    #[arg(long, value_name = "BYTES[,silent]")]
    pub path_mtu: Option<PathMtu>,

    /// What decides all random choices of the link [default: 1]
    ///
    /// With the same seed the same packets in the same order meet the same fate; each direction has its
    /// own.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,
}

/// A link that cannot be.
#[derive(Debug, Error)]
#[error(
    "a queue of {0} is none without a --delay, whose round trip it is a multiple of: give a delay, or \
     a --queue in bytes (64k) or packets (200p)"
)]
pub struct NoBdp(Queue);

/// Bytes of an Ethernet header.
const ETHERNET: u64 = 14;
/// Bytes that the queue holds at least if nothing is said.
const DEFAULT_QUEUE: u64 = 64 << 10;

impl LinkConfig {
    /// Whether anything is asked for.
    pub fn is_wanted(&self) -> bool {
        *self != Self::default()
    }

    /// The seed of each of two directions.
    pub(super) fn seeds(&self) -> [u64; 2] {
        let seed = self.seed.unwrap_or(1);
        [seed, !seed]
    }

    /// What each direction does to frames that carry packets of up to `mtu` bytes.
    ///
    /// # Errors
    ///
    /// When the queue is to be a multiple of nothing.
    pub fn impairment(&self, mtu: u32) -> Result<Impairment, NoBdp> {
        let span = |span: Option<Span>| span.map_or(Duration::ZERO, |span| span.0);
        let probability = |share: Option<Share>| share.map_or(0.0, Share::probability);
        let (queue_bytes, queue_frames) = self.queue_limits(mtu)?;
        Ok(Impairment {
            loss: probability(self.loss),
            burst_loss: self.burst_loss.map(burst_loss),
            corruption: probability(self.corrupt),
            duplication: probability(self.duplicate),
            rate_bits_per_s: self.rate.map(|rate| rate.bits_per_s),
            rate_step: self
                .rate_step
                .map(|step| RateStep { bits_per_s: step.rate.bits_per_s, period: step.period.0 }),
            queue_bytes,
            queue_frames,
            delay: span(self.delay),
            jitter: span(self.jitter),
            reorder: probability(self.reorder.map(|reorder| reorder.share)),
            reorder_delay: span(self.reorder.map(|reorder| reorder.time)),
        })
    }

    /// The queue in bytes and in frames.
    fn queue_limits(&self, mtu: u32) -> Result<(Option<u64>, Option<u64>), NoBdp> {
        let Some(Rate { bits_per_s }) = self.rate else { return Ok((None, None)) };
        let round_trip = self.delay.map_or(Duration::ZERO, |delay| delay.0 * 2);
        let bdp = bits_per_s as f64 / 8.0 * round_trip.as_secs_f64();
        match self.queue {
            None => Ok((Some(whole(bdp).max(DEFAULT_QUEUE)), None)),
            Some(queue @ Queue::Bdp(_)) if round_trip.is_zero() => Err(NoBdp(queue)),
            Some(Queue::Bdp(times)) => {
                let least = 2 * (u64::from(mtu) + ETHERNET);
                Ok((Some(whole(bdp * times).max(least)), None))
            }
            Some(Queue::Bytes(bytes)) => Ok((Some(bytes), None)),
            Some(Queue::Frames(frames)) => Ok((None, Some(frames))),
        }
    }

    /// The flags that ask for this link.
    pub(crate) fn flags(&self) -> Vec<String> {
        fn flag<T: ToString>(name: &str, value: Option<&T>) -> Option<String> {
            value.map(|value| format!("--{name}={}", value.to_string()))
        }
        [
            flag("delay", self.delay.as_ref()),
            flag("jitter", self.jitter.as_ref()),
            flag("rate", self.rate.as_ref()),
            flag("rate-step", self.rate_step.as_ref()),
            flag("queue", self.queue.as_ref()),
            flag("loss", self.loss.as_ref()),
            flag("burst-loss", self.burst_loss.as_ref()),
            flag("reorder", self.reorder.as_ref()),
            flag("duplicate", self.duplicate.as_ref()),
            flag("corrupt", self.corrupt.as_ref()),
            flag("path-mtu", self.path_mtu.as_ref()),
            flag("seed", self.seed.as_ref()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A bad time ends with each frame at one over its length, and begins so often that the share of frames
/// that fall into one, times the share lost there, is the mean.
fn burst_loss(bursts: Bursts) -> BurstLoss {
    let within = bursts.within.probability();
    let bad = bursts.mean.probability() / within;
    let leave = 1.0 / bursts.len;
    BurstLoss { enter: leave * bad / (1.0 - bad), leave, loss: within }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        link: LinkConfig,
    }

    fn parse(flags: &str) -> LinkConfig {
        let words = ["pw"].into_iter().chain(flags.split_whitespace());
        Cli::try_parse_from(words).map_or_else(|error| panic!("{error}"), |cli| cli.link)
    }

    #[test]
    fn flags_ask_for_the_same_link_again() {
        let all = "--delay=20ms --jitter=1ms --rate=100mbit --rate-step=25mbit,2s --queue=1bdp --loss=1% \
                   --burst-loss=1%,8,90% --reorder=1%,5ms --duplicate=2% --corrupt=0.1% --path-mtu=1300,silent \
                   --seed=7";
        let link = parse(all);
        assert_eq!(link.flags().join(" "), all.split_whitespace().collect::<Vec<_>>().join(" "));
        assert_eq!(parse(&link.flags().join(" ")), link);
        assert!(link.is_wanted() && !parse("").is_wanted());
        assert!(parse("").flags().is_empty());
    }

    #[test]
    fn a_queue_of_one_bdp_is_the_rate_times_the_round_trip() {
        let bytes = |flags| parse(flags).impairment(1_500).unwrap().queue_bytes;
        assert_eq!(bytes("--delay 20ms --rate 100mbit --queue 1bdp"), Some(500_000));
        assert_eq!(bytes("--delay 20ms --rate 100mbit --queue 0.5bdp"), Some(250_000));
        assert_eq!(bytes("--delay 20ms --rate 100mbit"), Some(500_000));
        assert_eq!(bytes("--rate 100mbit"), Some(65_536));
        assert_eq!(bytes("--delay 20us --rate 1mbit --queue 1bdp"), Some(3_028));
        assert_eq!(bytes("--delay 20ms"), None);
        let link = parse("--rate 100mbit --queue 200p").impairment(1_500).unwrap();
        assert_eq!((link.queue_bytes, link.queue_frames), (None, Some(200)));
        assert!(parse("--rate 100mbit --queue 1bdp").impairment(1_500).is_err());
        assert!(Cli::try_parse_from(["pw", "--queue", "64k"]).is_err(), "a queue needs a rate");
    }

    #[test]
    fn bursts_have_the_length_and_the_mean_asked_for() {
        let burst = parse("--burst-loss 1%,10,50%").impairment(1_500).unwrap().burst_loss.unwrap();
        let bad = burst.enter / (burst.enter + burst.leave);
        assert!((bad * burst.loss - 0.01).abs() < 1e-9, "{burst:?}");
        assert!((burst.leave - 0.1).abs() < 1e-9 && (burst.loss - 0.5).abs() < 1e-9);
    }
}
