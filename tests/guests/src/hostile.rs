//! What hostile front ends share: chance from a seed, and a device that is opened, misused and ended again and again.
//!
//! A kernel says what it offers and how it misbehaves ([`Misuse`]); [`run`] does the rest.

use alloc::format;
use alloc::string::{String, ToString};
use core::time::Duration;
use domu_sdk::time::timeout;
use domu_sdk::xenbus::{Frontend, State};
use domu_sdk::{println, start, store};

/// Steps of one life.
const STEPS: u32 = 300;
/// How long a state of the back end is waited for.
pub const PATIENCE: Duration = Duration::from_millis(300);
/// More responses than this are a number that was written at random.
const PLAUSIBLE: u32 = 1 << 20;

/// What went wrong, in words.
pub type Outcome<T = ()> = Result<T, String>;

/// An error in words.
pub fn words(error: impl core::fmt::Display) -> String {
    error.to_string()
}

/// Chance from a seed: SplitMix64.
pub struct Chance(u64);

impl Chance {
    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "a sequence without end is no iterator here")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number that somebody might think of. Grants 0 and 1 are this guest's own console and store; a back end that was told to
    /// write there would only cut the guest off from them.
    pub fn number(&mut self) -> u64 {
        let number = match self.below(6) {
            0 => self.below(9),
            1 => self.below(2000),
            2 => u64::from(u32::MAX) + self.below(3) - 1,
            3 => u64::MAX - self.below(2),
            4 => 1 << self.below(64),
            _ => self.next(),
        };
        if number as u32 > 1 { number } else { number ^ 8 }
    }

    /// The value of a node that somebody might think of; `path` is one of the answers.
    pub fn text(&mut self, path: &str) -> String {
        match self.below(5) {
            0 => String::new(),
            1 => "x".repeat(self.below(1500) as usize),
            2 => path.to_string(),
            3 => format!("-{}", self.number()),
            _ => self.number().to_string(),
        }
    }
}

/// A front end that does what it must not.
pub trait Misuse: Sized {
    /// Kind of device, as in the store.
    const CLASS: &str;
    /// Nodes that a life begins without.
    const KEYS: &[&str];
    /// Shares rings and memory, mostly as it should be, and publishes them.
    #[expect(async_fn_in_trait, reason = "the kernels have one thread")]
    async fn offer(device: Frontend, chance: &mut Chance) -> Outcome<Self>;
    /// Goes to the state that the back end's `Connected` asks for.
    #[expect(async_fn_in_trait, reason = "the kernels have one thread")]
    async fn connected(&mut self);
    /// One step.
    #[expect(async_fn_in_trait, reason = "the kernels have one thread")]
    async fn misbehave(&mut self, chance: &mut Chance);
    /// Responses that are in the rings.
    fn answers(&self) -> u32;
    /// The device.
    fn device(&self) -> &Frontend;
}

/// Opens the device `number` and misuses it, `lives=` times (0: for ever) with chance from `seed=`. It ends with `hostile: done`.
pub async fn run<M: Misuse>(number: u32) {
    let parameter = |name| start::parameter(name).and_then(|text| text.parse().ok());
    let seed = parameter("seed").unwrap_or(1);
    let lives = parameter("lives").unwrap_or(20);
    println!("hostile: seed {seed}");
    let mut chance = Chance(seed);
    let mut life = 0;
    let (mut connected, mut answers) = (0, 0);
    while lives == 0 || life < lives {
        match one_life::<M>(number, &mut chance).await {
            Ok((up, count)) => {
                connected += u32::from(up);
                answers += count;
            }
            Err(why) => println!("hostile: life {life}: {why}"),
        }
        life += 1;
    }
    println!("hostile: done, {life} lives, {connected} connected, {answers} answers");
}

/// Opens the device, misbehaves, and ends somehow. Whether it was connected, and how many responses there were at the end.
async fn one_life<M: Misuse>(number: u32, chance: &mut Chance) -> Outcome<(bool, u32)> {
    let device = open::<M>(number).await?;
    let mut front = M::offer(device, chance).await?;
    let up = timeout(PATIENCE, front.device().wait_for(State::Connected)).await == Some(Ok(()));
    if up {
        front.connected().await;
    }
    for _ in 0..STEPS {
        front.misbehave(chance).await;
    }
    domu_sdk::time::sleep(Duration::from_millis(chance.below(3))).await;
    let answers = front.answers();
    // The frames come back only when the back end has let go of them.
    front.device().set_state(State::Closed).await.map_err(words)?;
    let closed = |state| matches!(state, State::Closed | State::Unknown).then_some(Ok(()));
    let _ = timeout(10 * PATIENCE, front.device().wait(closed)).await;
    Ok((up, if up && answers < PLAUSIBLE { answers } else { 0 }))
}

/// Brings the device's directory in order, whatever the life before did to it, and waits until the back end offers it again.
async fn open<M: Misuse>(number: u32) -> Outcome<Frontend> {
    let class = M::CLASS;
    let store = store::get().ok_or("no store")?;
    let directory = format!("device/{class}/{number}");
    let _ = store.rm(&format!("{directory}/backend")).await;
    let own = start::domain_id().map_or(0, |id| id.0);
    let back = format!("/local/domain/0/backend/{class}/{own}/{number}");
    store.write(&format!("{directory}/backend"), back).await.map_err(words)?;
    store.write(&format!("{directory}/backend-id"), "0").await.map_err(words)?;
    let device = Frontend::open(class, number).await.map_err(words)?;
    device.withdraw(M::KEYS).await.map_err(words)?;
    device.set_state(State::Closed).await.map_err(words)?;
    let _ = timeout(PATIENCE, device.wait(|state| (state == State::Closed).then_some(Ok(())))).await;
    device.set_state(State::Initialising).await.map_err(words)?;
    let _ = timeout(PATIENCE, device.wait(|state| (state == State::InitWait).then_some(Ok(())))).await;
    Ok(device)
}
