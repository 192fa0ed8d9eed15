//! Planted bugs: mistakes that this program does not make, for the proof to be held against. A suite that stays green with one of them
//! proves nothing.
//!
//! Owns: whether a mistake is switched on by `ORDERD_BUG`, in builds with the feature `crash-points`.
//! Never: in a release: without the feature, each place is a constant `false` and nothing of it is compiled.

/// Whether this mistake is to be made.
#[cfg(feature = "crash-points")]
pub fn is(name: &str) -> bool {
    std::env::var("ORDERD_BUG").is_ok_and(|bug| bug == name)
}

/// This build makes no mistakes on purpose.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub fn is(_name: &str) -> bool {
    false
}
