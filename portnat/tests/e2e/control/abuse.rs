//! Each request of the API malformed, huge, slow, many at once, and of others than root: there are clear
//! errors, nothing changes, and conversations through the datapath never hear of it.

mod malformed;
mod many;
mod scene;
mod strangers;

use super::{Talk, as_nobody, get};
