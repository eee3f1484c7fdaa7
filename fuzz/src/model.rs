//! The model of portnat-common's own tests, without the tests.

#[path = "../../portnat-common/tests/nat/model/flow.rs"]
mod flow;
#[path = "../../portnat-common/tests/nat/model/ground.rs"]
mod ground;
#[path = "../../portnat-common/tests/nat/model/naive.rs"]
mod naive;
#[path = "../../portnat-common/tests/nat/model/oracles.rs"]
mod oracles;
#[path = "../../portnat-common/tests/nat/model/run.rs"]
mod run;

pub(crate) use run::Run;
