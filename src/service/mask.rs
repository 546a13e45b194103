//! Masking for those who enforce: by the obligation of a decision that they were given, or by a profile of the operator.
//!
//! The obligations of an ALLOW are remembered for a while, for the caller who got it, and found in the journal later. Whoever
//! comes to another server asks there again: nothing is masked by rules that nobody can find.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::stopwatch::Stopwatch;
use super::veil::Veil;
use super::{Caller, Refusal, Service};
use crate::domain::{Decided, DecisionId, EntityUid, MaskRules, Obligation};
use crate::masking::{Budget, Custom, CustomRules, JsonStream, Keyring, MaskError, Masker, Mode, Profile, TextStream};

pub use crate::masking::Counts;

/// Ids and keys leave room for tenants; one deployment serves one for now.
const TENANT: &str = "default";
/// The profile that is always there: all that is known is replaced by its kind.
const EVERYTHING: &str = "everything";
/// Decisions whose obligations are at hand; those of others are in the journal.
const DECISIONS_MAX: usize = 50_000;
/// Texts that are masked at the same time; others wait.
const MASKS_MAX: usize = 16;
/// Streams at the same time; each has a thread.
const STREAMS_MAX: usize = 64;
/// Of a service that nobody configured.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Pieces of one stream that wait, each way.
const PIECES_MAX: usize = 4;

/// What the operator configured.
pub struct Settings {
    pub custom: CustomRules,
    pub profiles: BTreeMap<String, (MaskRules, Mode)>,
    /// What is done to queries wherever they are shown.
    pub views: MaskRules,
    pub keyring: Keyring,
    /// The longest that one call, one view or one piece of a stream is searched.
    pub timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            custom: CustomRules::default(),
            profiles: BTreeMap::new(),
            views: MaskRules::views(),
            keyring: Keyring::default(),
            timeout: TIMEOUT,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum MaskingError {
    #[error(transparent)]
    Detectors(MaskError),
    #[error("views: {0}")]
    Views(MaskError),
    #[error("profile `{name}`: {error}")]
    Profile { name: String, error: MaskError },
}

/// The masker, the profiles, and the obligations of decisions.
pub struct Masking {
    masker: Arc<Masker>,
    profiles: BTreeMap<String, Arc<Profile>>,
    views: Arc<Profile>,
    timeout: Duration,
    decisions: quick_cache::sync::Cache<DecisionId, Given>,
    places: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// What an ALLOW demands of the caller who got it, as its policies say it. They were read when they were loaded; here they are
/// only once somebody masks by them.
#[derive(Clone)]
struct Given {
    to: EntityUid,
    masks: Arc<[Arc<str>]>,
}

impl Given {
    /// `None` where there is nothing to mask.
    fn by(decided: &Decided) -> Option<Self> {
        let masks = decided.obligations.iter().filter_map(|obligation| match obligation {
            Obligation::Mask { what, .. } => Some(what.clone()),
            Obligation::Advice { .. } => None,
        });
        decided.must_mask().then(|| Self { to: decided.caller.uid.clone(), masks: masks.collect() })
    }

    /// All of them together.
    fn profile(&self) -> Result<Arc<Profile>, String> {
        let read = self.masks.iter().map(|what| MaskRules::parse(what));
        let rules = read.reduce(|one, other| Ok(one?.and(&other?))).ok_or("nothing is to be masked")??;
        Ok(profile(rules, Mode::Strict))
    }
}

impl Masking {
    /// # Errors
    /// A pattern that is none, or a profile that needs a key or kind that is not there.
    pub fn new(settings: Settings) -> Result<Self, MaskingError> {
        let custom = Custom::new(settings.custom).map_err(MaskingError::Detectors)?;
        let masker = Masker::new(custom, settings.keyring).map_err(MaskingError::Detectors)?;
        let mut profiles = BTreeMap::from([(EVERYTHING.to_owned(), profile(MaskRules::everything(), Mode::Strict))]);
        for (name, (rules, mode)) in settings.profiles {
            masker.check(&rules).map_err(|error| MaskingError::Profile { name: name.clone(), error })?;
            profiles.insert(name, profile(rules, mode));
        }
        masker.check(&settings.views).map_err(MaskingError::Views)?;
        Ok(Self {
            masker: Arc::new(masker),
            profiles,
            views: profile(settings.views, Mode::Lenient),
            timeout: settings.timeout,
            decisions: quick_cache::sync::Cache::new(DECISIONS_MAX),
            places: Arc::new(Semaphore::new(MASKS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
        })
    }

    /// Over all that is shown of queries. What cannot be searched is withheld.
    pub(super) fn veil(&self) -> Veil {
        Veil::new(self.masker.clone(), self.views.clone(), self.timeout)
    }

    /// Room to mask; others wait.
    pub(super) async fn place(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        self.places.clone().acquire_owned().await.map_err(|_| Refusal::ShuttingDown)
    }

    /// The same within the time of a call.
    async fn place_within(&self, watch: &Stopwatch) -> Result<OwnedSemaphorePermit, Refusal> {
        let place = tokio::time::timeout(watch.rest(), self.place()).await;
        place.map_err(|_| self.refusal(MaskError::Timeout))?
    }

    /// What a caller is told.
    fn refusal(&self, error: MaskError) -> Refusal {
        if error == MaskError::Timeout { Refusal::MaskingTimeout { timeout: self.timeout } } else { refusal(error) }
    }

    pub(super) fn masker(&self) -> &Masker {
        &self.masker
    }

    /// Keeps what an ALLOW demands, for its caller.
    pub(super) fn remember(&self, decided: &Decided) {
        if let Some(given) = Given::by(decided) {
            self.decisions.insert(decided.repeats.unwrap_or(decided.id), given);
        }
    }
}

pub(super) fn tenant() -> &'static str {
    TENANT
}

fn profile(rules: MaskRules, mode: Mode) -> Arc<Profile> {
    Arc::new(Profile { tenant: TENANT.into(), rules, mode, budget: Budget::default() })
}

/// For one call.
pub(super) fn timed(profile: &Profile, watch: &Stopwatch) -> Profile {
    Profile { budget: watch.budget(), ..profile.clone() }
}

/// By what the rules are found.
#[derive(Debug, Clone)]
pub enum By {
    Decision(DecisionId),
    Profile(String),
}

#[derive(Clone)]
pub enum Data {
    Text(String),
    Json(String),
    Rows { columns: Vec<String>, rows: Vec<Vec<String>> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

/// A part of a stream's output.
pub enum Piece {
    Part(String),
    End(Counts),
}

/// Where a stream's pieces go in, and where they come out masked.
pub type Ends = (mpsc::Sender<Vec<u8>>, mpsc::Receiver<Result<Piece, Refusal>>);

impl Service {
    /// Masks all of it, or nothing.
    ///
    /// # Errors
    /// Rules that nobody can find, data that is not what it is said to be, masking that is not possible here, and
    /// [`Refusal::MaskingTimeout`].
    pub async fn mask(&self, caller: &Caller, by: By, data: Data) -> Result<(Data, Counts), Refusal> {
        let profile = self.mask_profile(caller, by).await?;
        let masking = &self.shared.masking;
        let watch = Stopwatch::start(masking.timeout);
        let place = masking.place_within(&watch).await?;
        let (masker, profile) = (masking.masker.clone(), timed(&profile, &watch));
        let masked = tokio::task::spawn_blocking(move || {
            let _place = place;
            mask(&masker, &profile, data)
        });
        masked.await.map_err(Refusal::panicked)?.map_err(|error| masking.refusal(error))
    }

    /// Masks pieces as they come. Ends after the first error, or with [`Piece::End`].
    ///
    /// # Errors
    /// As for [`Service::mask`], and past the limit of streams.
    pub async fn mask_stream(&self, caller: &Caller, by: By, format: Format) -> Result<Ends, Refusal> {
        let profile = self.mask_profile(caller, by).await?;
        let masking = &self.shared.masking;
        let full = |_| Refusal::Exhausted { limit: "mask_streams_max", most: STREAMS_MAX };
        let place = masking.streams.clone().try_acquire_owned().map_err(full)?;
        let masking = masking.clone();
        let (pieces, mut incoming) = mpsc::channel::<Vec<u8>>(PIECES_MAX);
        let (outgoing, masked) = mpsc::channel(PIECES_MAX);
        // Ends when either side lets go of its channel.
        drop(tokio::task::spawn_blocking(move || {
            let _place = place;
            let send = |piece: Result<Piece, Refusal>| outgoing.blocking_send(piece).is_ok();
            let watch = Stopwatch::start(masking.timeout);
            let profile = timed(&profile, &watch);
            let mut stream = Stream::new(&masking.masker, &profile, format);
            while let Some(piece) = incoming.blocking_recv() {
                watch.restart();
                let is_taken = match stream.push(&piece) {
                    Ok(part) => part.is_empty() || send(Ok(Piece::Part(part))),
                    Err(error) => {
                        send(Err(masking.refusal(error)));
                        false
                    }
                };
                if !is_taken {
                    return;
                }
            }
            watch.restart();
            match stream.finish() {
                Ok((rest, counts)) => {
                    if send(Ok(Piece::Part(rest))) {
                        send(Ok(Piece::End(counts)));
                    }
                }
                Err(error) => {
                    send(Err(masking.refusal(error)));
                }
            }
        }));
        Ok((pieces, masked))
    }

    /// What the journal of this server says that a decision demands.
    async fn given_on_record(&self, id: DecisionId) -> Result<Option<Given>, Refusal> {
        let found = self.on_disk(move |log| log.decision(id)).await?;
        let given = found.as_deref().and_then(Given::by);
        if let Some(given) = &given {
            self.shared.masking.decisions.insert(id, given.clone());
        }
        Ok(given)
    }

    /// Masks for whoever may ask for decisions; a decision's rules for the one who got it.
    async fn mask_profile(&self, caller: &Caller, by: By) -> Result<Arc<Profile>, Refusal> {
        self.guard_asking(&*self.in_force()?, caller)?;
        let masking = &self.shared.masking;
        match by {
            By::Decision(id) => {
                let given = match masking.decisions.get(&id) {
                    Some(given) => Some(given),
                    None => self.given_on_record(id).await?,
                };
                // Another's decision is none: what it demands is nobody else's business.
                let given = given.filter(|given| given.to == caller.identity.uid).ok_or_else(unknown)?;
                let unreadable = |problem: String| Refusal::Internal(problem.into());
                let profile = given.profile().map_err(unreadable)?;
                masking.masker.check(&profile.rules).map_err(refusal)?;
                Ok(profile)
            }
            By::Profile(name) => {
                let known = masking.profiles.get(&name).cloned();
                known.ok_or_else(|| Refusal::invalid("profile", "no such profile is configured"))
            }
        }
    }
}

fn unknown() -> Refusal {
    let message = "no obligation to mask is on record here for this decision: send it to the server that decided, or ask this \
                   one for the decision again";
    Refusal::invalid("decision_id", message)
}

fn mask(masker: &Masker, profile: &Profile, data: Data) -> Result<(Data, Counts), MaskError> {
    match data {
        Data::Text(text) => masker.text(profile, &text).map(|(text, counts)| (Data::Text(text), counts)),
        Data::Json(json) => masker.json(profile, &json).map(|(json, counts)| (Data::Json(json), counts)),
        Data::Rows { columns, rows } => {
            masker.rows(profile, &columns, rows).map(|(rows, counts)| (Data::Rows { columns, rows }, counts))
        }
    }
}

enum Stream<'m> {
    Text(TextStream<'m>),
    Json(JsonStream<'m>),
}

impl<'m> Stream<'m> {
    fn new(masker: &'m Masker, profile: &'m Profile, format: Format) -> Self {
        match format {
            Format::Text => Self::Text(TextStream::new(masker, profile)),
            Format::Json => Self::Json(JsonStream::new(masker, profile)),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<String, MaskError> {
        let mut out = String::with_capacity(piece.len());
        match self {
            Self::Text(stream) => stream.push(piece, &mut out)?,
            Self::Json(stream) => stream.push(piece, &mut out)?,
        }
        Ok(out)
    }

    fn finish(self) -> Result<(String, Counts), MaskError> {
        let mut out = String::new();
        let counts = match self {
            Self::Text(stream) => stream.finish(&mut out)?,
            Self::Json(stream) => stream.finish(&mut out)?,
        };
        Ok((out, counts))
    }
}

/// What a caller is told; never a part of the data.
pub(super) fn refusal(error: MaskError) -> Refusal {
    match error {
        MaskError::NotText
        | MaskError::NotJson(_)
        | MaskError::TooDeep(_)
        | MaskError::TooLong(_)
        | MaskError::Rows => Refusal::invalid("data", error.to_string()),
        MaskError::Unopened => Refusal::invalid("tokens", error.to_string()),
        MaskError::NoKey(_) | MaskError::UnknownKind(_) => Refusal::unavailable(error),
        // Who has a deadline says which one before it comes here.
        MaskError::Timeout | MaskError::Engine | MaskError::Unsettled | MaskError::Pattern(_) => {
            Refusal::Internal(Box::new(error))
        }
    }
}
