//! What the endpoints of a configuration need of the log, before anything of it may be removed.
//!
//! A claim holds the log from the endpoint's position on, whether or not its queue can start. The configuration and the
//! position files say where that is; the claim is made first, and looked at afterwards, so that nothing goes between.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::config::Config;
use crate::config::remote_write::RemoteWriteConfig;
use crate::remote::endpoint_name;
use crate::remote::settle::ledger::Ledger;
use crate::remote::settle::mark::Mark;
use crate::remote::settle::position::{Positions, Remembered};
use crate::remote::settle::progress::Saved;
use scraped_engine::wal::error::{WalError, is_of_the_disk};
use scraped_engine::wal::follow;
use scraped_engine::wal::format::position::Position;
use scraped_engine::wal::gone::SegmentSamples;
use scraped_engine::wal::head::{LogReader, ReaderMark, ReadersKnown};

/// Where an endpoint goes on.
#[derive(Clone, Debug)]
pub struct Place {
    /// What is settled.
    pub saved: Saved,
    /// Samples of the segments of its marks that stand before them, in their order.
    pub before: Vec<SegmentSamples>,
    /// It was never seen before.
    pub is_new: bool,
}

/// An endpoint's hold on the log.
#[derive(Debug)]
pub struct Claim {
    /// What distinguishes the endpoint.
    pub identity: String,
    /// What is remembered of it; taken once the place is found.
    remembered: Remembered,
    mark: ReaderMark,
    /// `None` while the log cannot be read there.
    place: Option<Place>,
}

impl Claim {
    /// Holds the log for an endpoint of which this is remembered.
    pub fn new(log: &LogReader, identity: &str, remembered: Remembered) -> Self {
        let from = match &remembered {
            Remembered::At(saved) => saved.mark.position,
            Remembered::Lost(_) => Position::default(),
            Remembered::New => log.committed_end().unwrap_or_default(),
        };
        let mark = log.claim(from);
        Self { identity: identity.to_owned(), remembered, mark, place: None }
    }

    /// Finds the place to go on from, if it is not known yet.
    ///
    /// # Errors
    /// The log cannot be read; what it holds stays claimed.
    pub fn find_place(&mut self, log: &LogReader, name: &str) -> Result<(), WalError> {
        if self.place.is_none() {
            let place = starting_place(log, name, &self.remembered)?;
            self.mark.keep_from(place.saved.mark.position);
            self.place = Some(place);
        }
        Ok(())
    }

    /// The place, if it is known, and the hold on what is behind it.
    ///
    /// # Errors
    /// The claim, if the place is not known.
    pub fn take(self) -> Result<(Place, ReaderMark), Box<Claim>> {
        match self.place {
            Some(place) => Ok((place, self.mark)),
            None => Err(Box::new(self)),
        }
    }
}

/// Claims of all endpoints of a configuration.
#[derive(Debug)]
pub struct Claims {
    /// Where positions are remembered.
    pub positions: Positions,
    /// The log held something before this start.
    pub has_data: bool,
    /// Not yet taken over by a queue.
    pub open: Vec<Claim>,
    /// Identities that no one has any more, with what they are called now.
    pub renamed: Vec<(String, String)>,
}

impl Claims {
    /// Claims the log for all endpoints of `config`, and says so to wal-maintenance.
    ///
    /// # Errors
    /// The directory of positions cannot be made, and that is not for want of room: then it is made later.
    pub fn make(log: &LogReader, config: &Config, has_data: bool) -> io::Result<(Claims, ReadersKnown)> {
        let positions = Positions::below(Arc::clone(log.disk()), log.path());
        match positions.restore() {
            Err(error) if !is_of_the_disk(&error) => return Err(error),
            Err(error) => {
                log::warn!("cannot make the directory of remote_write positions: {error}; it is tried again")
            }
            Ok(_) => {}
        }
        let mut claims = Claims { positions, has_data, open: Vec::new(), renamed: Vec::new() };
        for section in &config.remote_write {
            let mut claim = claims.claim(log, config, section);
            if let Err(error) = claim.find_place(log, &endpoint_name::name_of(section)) {
                // The queue tries again and says so.
                log::debug!("remote_write {}: {error}", claim.identity);
            }
            claims.open.push(claim);
        }
        let readers_known = log.are_all_known();
        Ok((claims, readers_known))
    }

    /// Claims the log for one endpoint of `config`, which may have had another name before this start.
    pub fn claim(&mut self, log: &LogReader, config: &Config, section: &RemoteWriteConfig) -> Claim {
        let identity = section.identity();
        let remembered = self.recall(config, section);
        Claim::new(log, identity, remembered)
    }

    fn recall(&mut self, config: &Config, section: &RemoteWriteConfig) -> Remembered {
        let identity = section.identity();
        let remembered = self.positions.recall(identity, self.has_data);
        if remembered != Remembered::New {
            return remembered;
        }
        // An endpoint that was alone with its URL cannot be told from one that shares it now: both go on there, so that none loses
        // anything.
        let was_alone = |known_as: &str| section.name.is_empty() && known_as == section.url;
        let is_taken = |known_as: &str| {
            config.remote_write.iter().any(|section| section.identity() == known_as)
                || (self.renamed.iter().any(|(taken, _)| taken == known_as) && !was_alone(known_as))
        };
        let mut known = self.positions.known_at(&section.url);
        known.retain(|known| !is_taken(&known.identity));
        let beside_others = section.identity_beside_others();
        if known.iter().any(|known| known.identity == beside_others) {
            known.retain(|known| known.identity == beside_others);
        }
        let Some(last) = known.pop() else { return remembered };
        if known.is_empty() {
            log::info!(
                "remote_write {identity}: its URL was known as {:?}, which is configured no more; it goes on where \
                 that was",
                last.identity
            );
            self.renamed.push((last.identity, identity.to_owned()));
            return Remembered::At(last.saved);
        }
        let names: Vec<String> = known.iter().chain([&last]).map(|it| format!("{:?}", it.identity)).collect();
        log::warn!(
            "remote_write {identity}: its URL was known as {}, all configured no more, so it is not known where it \
             was; it starts at the present; give it one of these names to go on from there",
            names.join(" and ")
        );
        remembered
    }
}

/// Where to go on, with the ledger up to there.
fn starting_place(log: &LogReader, name: &str, remembered: &Remembered) -> Result<Place, WalError> {
    let oldest = log.oldest_position()?;
    let from_oldest = |ledger| Place {
        saved: Saved { mark: Mark::start_of(oldest.segment), ledger, ahead: Vec::new() },
        before: Vec::new(),
        is_new: false,
    };
    let saved = match remembered {
        Remembered::New => {
            let present = log.committed_end().unwrap_or(oldest);
            // The place is durable before it is remembered; if it cannot be, the next start finds that out.
            if let Err(error) = log.sync() {
                log::error!("{error}");
            }
            let (fingerprint, before) = follow::record_before(log, present)?.unwrap_or_default();
            let mark = Mark { position: present, fingerprint };
            let saved = Saved { mark, ..Saved::default() };
            return Ok(Place { saved, before: vec![before], is_new: true });
        }
        Remembered::Lost(why) => {
            log::warn!(
                "remote_write {name}: its position is lost ({why}); everything that is kept is sent, from segment \
                 {:08} on",
                oldest.segment
            );
            return Ok(from_oldest(Ledger::default()));
        }
        Remembered::At(saved) => saved,
    };
    let end = log.committed_end().unwrap_or(oldest);
    if saved.newest().segment > end.segment {
        log::warn!(
            "remote_write {name}: its position, segment {:08}, is not in the log any more; it goes on with segment \
             {:08}",
            saved.newest().segment,
            oldest.segment
        );
        return Ok(from_oldest(saved.total()));
    }
    // What a start has to remove is counted by the queue, like all that goes later.
    let accounted = log.oldest_accounted()?;
    let Saved { mut mark, mut ledger, ahead } = saved.clone();
    let mut ahead = VecDeque::from(ahead);
    // Gaps that went as a whole.
    while let Some(next) = ahead.front().filter(|next| next.start <= accounted) {
        log::warn!(
            "remote_write {name}: its backlog in front of segment {:08} is not in the log any more",
            next.start
        );
        ledger.add(&next.ledger);
        mark = next.mark;
        ahead.pop_front();
    }
    if mark.position.segment < accounted {
        log::warn!(
            "remote_write {name}: its position, segment {:08}, is not in the log any more; it goes on with segment \
             {:08}",
            mark.position.segment,
            accounted
        );
        mark = Mark::start_of(accounted);
    }
    let mut samples_before = Vec::new();
    for mark in [&mut mark].into_iter().chain(ahead.iter_mut().map(|ahead| &mut ahead.mark)) {
        let position = mark.position;
        let before = if position.offset == 0 { None } else { follow::record_before(log, position)? };
        match before {
            Some((fingerprint, samples)) if fingerprint == mark.fingerprint => samples_before.push(samples),
            _ => {
                if position.offset > 0 {
                    log::warn!(
                        "remote_write {name}: the log was repaired or cut at its position; segment {:08} is sent again \
                         from its start",
                        position.segment
                    );
                }
                *mark = Mark::start_of(position.segment);
                samples_before.push(SegmentSamples::default());
            }
        }
    }
    let saved = Saved { mark, ledger, ahead: ahead.into() };
    Ok(Place { saved, before: samples_before, is_new: false })
}
