//! What the tests of this crate share.

pub(crate) mod packet;
pub(crate) mod racing;
pub(crate) mod world;
