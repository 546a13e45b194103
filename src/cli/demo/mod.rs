//! `countersign demo`: a real server on loopback, real clients over gRPC, and one action that waits for two people.
//!
//! Every step asserts what it shows: a demo that says "denied" while it was allowed would be worse than none. With
//! `--auto` it ends there; else the server stays up and it says what to try.

mod afterwards;
mod cast;
mod house;
mod narration;
mod scenario;

use clap::Args;

use super::failure::Failure;
use super::screen::Screen;
use super::serve::stop;
use cast::Cast;
use house::House;
use narration::Narration;

#[derive(Debug, Args)]
pub struct Demo {
    /// Exit at the end: 0 if everything came out as it must
    #[arg(long)]
    auto: bool,
}

impl Demo {
    pub async fn run(self, screen: &mut Screen) -> Result<(), Failure> {
        let stop = stop()?;
        let mut house = House::open().await?;
        let played = tokio::select! {
            played = play(&mut house, screen) => played,
            () = stop => return house.close().await,
        };
        if played.is_err() || self.auto {
            let closed = house.close().await;
            return played.and(closed);
        }
        afterwards::tell(&house, screen)?;
        house.stay(self::stop()?).await
    }
}

async fn play(house: &mut House, screen: &mut Screen) -> Result<(), Failure> {
    let cast = Cast::gather(house).await?;
    let mut narration = Narration::new(screen);
    narration.scene(&format!(
        "A policy decision point runs on {}, its journal is in {}.\n\
         The agent report-bot asks before it acts. Alice (privacy) and Bob (data protection) can countersign.",
        house.server_url(),
        house.journal_dir().display()
    ))?;
    scenario::play(&cast, house, &mut narration).await?;
    narration.scene("Everything came out as it must.")
}
