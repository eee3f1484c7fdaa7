//! The kernel runs a program for us (BPF_PROG_TEST_RUN).

use std::time::Duration;

use aya::programs::{TestRun, TestRunOptions};
use portnat_common::Ticks;

use super::error::DatapathError;
use super::load::Datapath;
use super::pod::Plain;

/// The name of the program that reads the clock.
pub(super) const CLOCK: &str = "clock";

/// Length in bytes of a packet that every kernel takes for a test run.
pub(super) const SHORTEST: usize = 64;

/// Length in bytes of `struct __sk_buff` as Linux 5.10 has it, and where its `ingress_ifindex` lies.
const SK_BUFF_LEN: usize = 184;
const INGRESS_IFINDEX: usize = 36;

impl Datapath {
    /// The time, as the flows' time stamps have it.
    ///
    /// # Errors
    /// The kernel refuses to run the clock program, which it does not where it loaded it.
    pub fn now(&mut self) -> Result<Ticks, DatapathError> {
        self.test_run(CLOCK, &[0; SHORTEST], 0)?;
        let Plain(ticks) = self
            .array::<u64>("CLOCK")?
            .get(&0, 0)
            .map_err(|error| DatapathError::table("CLOCK", error))?;
        Ok(Ticks(ticks))
    }

    /// Runs a program on a packet (BPF_PROG_TEST_RUN); for tests and measurements.
    ///
    /// The packet is at the interface with index 1, and came in by the one with index `came_in`; 0
    /// is for one that the host made itself. Returns the program's verdict and the packet
    /// afterwards.
    ///
    /// # Errors
    /// There is no such program, or the kernel does not take the packet.
    pub fn test_run(
        &mut self,
        program: &str,
        packet: &[u8],
        came_in: u32,
    ) -> Result<(i32, Vec<u8>), DatapathError> {
        self.ensure_loaded(program)?;
        let (verdict, packet, _) = self.test_runs(program, packet, came_in, 1)?;
        Ok((verdict, packet))
    }

    /// The same, for how long the program took, and what the kernel needs to run one.
    ///
    /// # Errors
    /// As for [`Datapath::test_run`].
    pub fn test_run_time(
        &mut self,
        program: &str,
        packet: &[u8],
        came_in: u32,
    ) -> Result<Duration, DatapathError> {
        self.ensure_loaded(program)?;
        let (_, _, time) = self.test_runs(program, packet, came_in, 1)?;
        Ok(time)
    }

    /// Runs a program so many times on no packet in particular.
    pub(super) fn run(&mut self, program: &str, times: u32) -> Result<(), DatapathError> {
        self.test_runs(program, &[0; SHORTEST], 0, times).map(drop)
    }

    fn test_runs(
        &mut self,
        program: &str,
        packet: &[u8],
        came_in: u32,
        repeat: u32,
    ) -> Result<(i32, Vec<u8>, Duration), DatapathError> {
        let mut context = [0; SK_BUFF_LEN];
        context[INGRESS_IFINDEX..INGRESS_IFINDEX + 4].copy_from_slice(&came_in.to_ne_bytes());
        // An ICMP error in the packet's place can be longer.
        let mut out = vec![0; packet.len() + 256];
        let options = TestRunOptions {
            data_in: Some(packet),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::default()
        };
        let result = self
            .program(program)?
            .test_run(options)
            .map_err(|error| DatapathError::program(program, error))?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value as i32, out, result.duration))
    }
}
