//! The scripts that run inside Redis: what has to be one step.
//!
//! Owns: their texts, each in a file of its own under `script/`, with its arguments and its answer in its head.
//! Never: a script on the road of every event; they serve what is rare.

use redis::Script;

/// The scripts, ready to be called.
#[derive(Debug)]
pub(super) struct Scripts {
    /// Adds a dead letter and acknowledges.
    pub(super) bury: Script,
    /// Takes over what others left.
    pub(super) claim: Script,
    /// Takes over one entry whose idle time says nothing.
    pub(super) seize: Script,
    /// Lists what a consumer has pending.
    pub(super) own: Script,
    /// Looks for what is pending with others.
    pub(super) elsewhere: Script,
    /// Renews, begins or hands back what is held.
    pub(super) hold: Script,
    /// Parks a failed entry with its retry record.
    pub(super) park: Script,
    /// Counts entries.
    pub(super) count: Script,
    /// Cuts what no group needs.
    pub(super) trim: Script,
    /// Says where a group that was lost begins again.
    pub(super) resume: Script,
    /// Says what could be delivered.
    pub(super) reach: Script,
    /// Removes a consumer that has nothing pending.
    pub(super) remove: Script,
    /// Renews or gives up the lock on a name.
    pub(super) lock: Script,
    /// Adds the event of a dead letter to the stream again.
    pub(super) replay: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            bury: Script::new(include_str!("script/bury.lua")),
            claim: Script::new(include_str!("script/claim.lua")),
            seize: Script::new(include_str!("script/seize.lua")),
            own: Script::new(include_str!("script/own.lua")),
            elsewhere: Script::new(include_str!("script/elsewhere.lua")),
            hold: Script::new(include_str!("script/hold.lua")),
            park: Script::new(include_str!("script/park.lua")),
            count: Script::new(include_str!("script/count.lua")),
            trim: Script::new(include_str!("script/trim.lua")),
            resume: Script::new(include_str!("script/resume.lua")),
            reach: Script::new(include_str!("script/reach.lua")),
            remove: Script::new(include_str!("script/remove.lua")),
            lock: Script::new(include_str!("script/lock.lua")),
            replay: Script::new(include_str!("script/replay.lua")),
        }
    }
}
