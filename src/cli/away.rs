//! `countersign away`: who is away, and who stands in for him.

use clap::Subcommand;

use super::failure::Failure;
use super::parse;
use super::remote::Remote;
use super::screen::{Format, Screen, table};
use super::words::{moment, uid};
use crate::wire::json::to_json;
use crate::wire::pb;

#[derive(Debug, Subcommand)]
pub enum Away {
    /// Have one other person countersign in your place until you are back
    Start {
        /// Who stands in, such as `User::"bob"`
        #[arg(long, value_parser = parse::uid, value_name = "PERSON")]
        to: pb::EntityUid,
        /// Until then, such as `2026-01-31T12:00:00Z`, or `14d` from now
        #[arg(long, value_parser = parse::coming, value_name = "WHEN")]
        until: parse::Moment,
        /// From then on; from now on where nothing is said
        #[arg(long, value_parser = parse::coming, value_name = "WHEN")]
        from: Option<parse::Moment>,
        /// Who is away, if not you: for whoever policies let lend the rights of others
        #[arg(long, value_parser = parse::uid, value_name = "PERSON")]
        person: Option<pb::EntityUid>,
    },
    /// You are back: nobody stands in any more
    End {
        /// Who is back, if not you
        #[arg(long, value_parser = parse::uid, value_name = "PERSON")]
        person: Option<pb::EntityUid>,
    },
    /// Who is away, and for whom you stand in
    List,
}

impl Away {
    pub async fn run(self, remote: &Remote, screen: &mut Screen) -> Result<(), Failure> {
        let client = remote.connect().await?;
        match self {
            Self::Start { to, until, from, person } => {
                let now = jiff::Timestamp::now();
                let (from, until) = (from.map(|from| from.at(now)), Some(until.at(now)));
                let request = pb::StartAbsenceRequest { person, stands_in: Some(to), from, until };
                let absence = client.start_absence(request).await?;
                screen.message(&absence, |absence, _| sentence(absence))
            }
            Self::End { person } => {
                let answer = client.end_absence(pb::EndAbsenceRequest { person }).await?;
                screen.message(&answer, |answer, _| {
                    let said = if answer.ended { "nobody stands in any more" } else { "nobody stood in" };
                    said.to_owned()
                })
            }
            Self::List => {
                let answer = client.list_absences(pb::ListAbsencesRequest {}).await?;
                if screen.format == Format::Json {
                    return screen.json(&to_json(&answer));
                }
                let mut rows = table(&["away", "stands in", "from", "until"]);
                for absence in &answer.absences {
                    rows.add_row(row(absence));
                }
                screen.table(&rows)
            }
        }
    }
}

fn row(absence: &pb::Absence) -> [String; 4] {
    let pb::Absence { person, stands_in, from, until } = absence;
    [uid(person.as_ref()), uid(stands_in.as_ref()), moment(from.as_ref()), moment(until.as_ref())]
}

fn sentence(absence: &pb::Absence) -> String {
    let [away, stands_in, from, until] = row(absence);
    format!("{stands_in} stands in for {away} from {from} until {until}")
}
