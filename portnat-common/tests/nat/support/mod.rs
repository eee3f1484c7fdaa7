//! What the tests of this crate share.

pub(crate) mod fragments;
mod kept;
pub(crate) mod packet;
mod publishing;
pub(crate) mod racing;
pub(crate) mod talk;
pub(crate) mod traffic;
pub(crate) mod world;
