//! Does a decision cost the same under 100,000 policies as under ten? The index beside Cedar's own authorizer over the whole
//! set, static policies and links of templates: each query is another tenant's, and ten policies concern it.
//!
//! `cargo bench --bench policies [-- POLICIES_MAX]` prints one table. What it showed: `benches/README.md`.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cedar_policy as cedar;
use countersign::domain::{Attributes, EntityUid, Identity, Query, Timestamp, Value};
use countersign::engine::index::{Index, Judge};
use countersign::engine::{PolicySnapshot, Settings, SourceFile};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const SIZES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// All policies of one tenant concern its user reading its data set.
const PER_TENANT: usize = 10;
/// As many at every size, each with a request and entities of its own, so that what differs is the policies alone: asked
/// again and again, one query would have all that it touches in the processor's cache.
const QUERIES: usize = 2_000;
const ROUND: Duration = Duration::from_millis(700);
const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

const SCHEMA: &str = "
    entity Group; entity User in [Group]; entity Agent; entity Workload;
    entity Folder in [Folder]; entity Dataset in [Folder] = { pii: Bool, rows: Long, owner: User };
    action read, export appliesTo { principal: [User], resource: [Dataset], context: { purpose: String } };";

/// The effect, scope and condition of one of a tenant's policies; `{P}` and `{R}` are the tenant's or a slot.
const KINDS: [&str; PER_TENANT] = [
    "permit (principal in {P}, action == Action::\"read\", resource is Dataset) when { resource.rows < 1000 };",
    "permit (principal in {P}, action == Action::\"read\", resource is Dataset) when { resource.rows < 10 };",
    "permit (principal in {P}, action == Action::\"read\", resource is Dataset) when { context.purpose like \"audit*\" };",
    "permit (principal is User in {P}, action, resource is Dataset) when { resource.owner == principal };",
    "permit (principal, action in [Action::\"read\", Action::\"export\"], resource in {R}) when { context.purpose == \"billing\" };",
    "permit (principal, action in [Action::\"read\", Action::\"export\"], resource in {R}) when { context.purpose == \"tax\" };",
    "permit (principal is User, action == Action::\"read\", resource is Dataset in {R}) unless { resource.pii };",
    "permit (principal == {U}, action == Action::\"read\", resource) when { resource.rows > 0 && !resource.pii };",
    "permit (principal == {U}, action, resource in {R}) when { context.purpose == \"billing\" || resource.pii };",
    "forbid (principal, action, resource in {R}) when { resource.pii && context.purpose != \"audit\" };",
];

fn main() -> Result<(), Failure> {
    let most = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(usize::MAX);
    println!(
        "two threads that share nothing: {:.2} times one",
        scaling(|n| (0..1_000).fold(n, |a, b| black_box(a ^ b)))
    );
    println!(
        "| policies | index p50 / p99, us | Authorizer p50, us | two threads | build, ms of CPU | policies, MiB | index, MiB |"
    );
    println!("|---|---|---|---|---|---|---|");
    for linked in [false, true] {
        for size in SIZES.into_iter().filter(|size| *size <= most) {
            row(size, linked)?;
        }
    }
    println!("\n| example policies | evaluate p50 / p99, us |\n|---|---|");
    examples()?;
    println!("\n| policies | evaluate p50 / p99, us | two threads | load, s |");
    println!("|---|---|---|---|");
    for size in SIZES.into_iter().filter(|size| *size <= most) {
        whole(size)?;
    }
    Ok(())
}

fn row(size: usize, linked: bool) -> Result<(), Failure> {
    let before = resident_mib()?;
    let set = if linked { links(size)? } else { statics(size)? };
    let between = resident_mib()?;
    let start = processor_time();
    let index = Index::new(set.policies());
    let build = (processor_time() - start) * 1e3;
    let after = resident_mib()?;
    let asked = askers(size).map(Asked::of).collect::<Result<Vec<_>, _>>()?;
    let ask = |n: usize| {
        asked.get(n % asked.len()).map(|asked| {
            index
                .select(&asked.request, &asked.entities)
                .ask(&Judge::new(&asked.request, &asked.entities))
                .permits
                .len()
        })
    };
    let (p50, p99) = percentiles(asked.len(), Duration::from_secs(2), |n| ask(n).unwrap_or_default());
    let authorizer = cedar::Authorizer::new();
    let (plain, _) = percentiles(asked.len(), Duration::from_secs(2), |n| {
        let of = |asked: &Asked| authorizer.is_authorized(&asked.request, &set, &asked.entities);
        asked.get(n % asked.len()).map_or(0, |asked| of(asked).diagnostics().reason().count())
    });
    let both = scaling(|n| ask(n).unwrap_or_default());
    let form = if linked { "linked" } else { "static" };
    println!(
        "| {size} {form} | {p50:.1} / {p99:.1} | {plain:.1} | {both:.2} | {build:.1} | {:.1} | {:.1} |",
        between - before,
        after - between
    );
    Ok(())
}

/// The example policies, as `benches/decide.rs` asks them.
fn examples() -> Result<(), Failure> {
    let snapshot = PolicySnapshot::load(&Settings::new("policies"))?;
    let who = Identity::imagined("Agent", "report-bot", &["agents"]);
    let export = [("destination".into(), Value::string("s3://partner")), ("rows".into(), Value::Long(1_000))];
    let queries = [
        ("read", "weather", Attributes::new()),
        ("read", "customers", Attributes::new()),
        ("export", "customers", export.into()),
    ];
    for (action, dataset, context) in queries {
        let what = Query {
            principal: who.uid.clone(),
            action: EntityUid::new("Action", action),
            resource: EntityUid::new("Dataset", dataset),
            context,
            ..query(0)
        };
        snapshot.evaluate(&what, &who, &who, NOW)?;
        let ask = |_| snapshot.evaluate(&what, &who, &who, NOW).map_or(0, |answer| answer.determining.len());
        let (p50, p99) = percentiles(1, Duration::from_secs(2), ask);
        println!("| {action} {dataset} | {p50:.1} / {p99:.1} |");
    }
    Ok(())
}

/// The same question from a `Query` to an `Evaluation`: what a call pays.
fn whole(size: usize) -> Result<(), Failure> {
    let mut text = String::new();
    (0..size).try_for_each(|n| writeln!(text, "{}", policy(n, &of_tenant(n / PER_TENANT))))?;
    let service = include_str!("../policies/countersign.cedarschema");
    let named =
        [("p.cedar", &*text), ("a.cedarschema", SCHEMA), ("c.cedarschema", service), ("entities.json", &data(size))];
    let files = named.iter().filter_map(|(name, text)| SourceFile::in_memory(name, text));
    let start = Instant::now();
    let snapshot = PolicySnapshot::from_sources(&Settings::new("policies"), files.collect())?;
    let load = start.elapsed().as_secs_f64();
    let asked: Vec<_> = askers(size).map(|tenant| (identity(tenant), query(tenant))).collect();
    let (who, what) = asked.first().ok_or("no queries")?;
    snapshot.evaluate(what, who, who, NOW)?;
    let ask = |n: usize| {
        asked
            .get(n % asked.len())
            .and_then(|(who, what)| Some(snapshot.evaluate(what, who, who, NOW).ok()?.errors.len()))
    };
    let (p50, p99) = percentiles(asked.len(), Duration::from_secs(2), |n| ask(n).unwrap_or_default());
    let both = scaling(|n| ask(n).unwrap_or_default());
    println!("| {size} | {p50:.1} / {p99:.1} | {both:.2} | {load:.2} |");
    Ok(())
}

/// Some tenants of all, evenly.
fn tenants(size: usize) -> impl Iterator<Item = usize> {
    let all = size / PER_TENANT;
    let step = (all / QUERIES).max(1);
    (0..all).step_by(step)
}

/// Whose each query is.
fn askers(size: usize) -> impl Iterator<Item = usize> {
    tenants(size).collect::<Vec<_>>().into_iter().cycle().take(QUERIES)
}

fn of_tenant(tenant: usize) -> [(&'static str, String); 3] {
    [
        ("{P}", format!("Group::\"g{tenant}\"")),
        ("{R}", format!("Folder::\"f{tenant}\"")),
        ("{U}", format!("User::\"u{tenant}\"")),
    ]
}

fn policy(n: usize, names: &[(&str, String)]) -> String {
    let kind = KINDS.get(n % PER_TENANT).copied().unwrap_or_default();
    names.iter().fold(kind.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn statics(size: usize) -> Result<cedar::PolicySet, Failure> {
    let mut set = cedar::PolicySet::new();
    for n in 0..size {
        let text = policy(n, &of_tenant(n / PER_TENANT));
        set.add(cedar::Policy::parse(Some(cedar::PolicyId::new(format!("p{n}"))), text)?)?;
    }
    Ok(set)
}

fn links(size: usize) -> Result<cedar::PolicySet, Failure> {
    let mut set = cedar::PolicySet::new();
    let slots = [("{P}", "?principal"), ("{R}", "?resource"), ("{U}", "?principal")].map(|(a, b)| (a, b.to_owned()));
    for (n, kind) in KINDS.iter().enumerate() {
        set.add_template(cedar::Template::parse(Some(cedar::PolicyId::new(format!("t{n}"))), policy(n, &slots))?)?;
        debug_assert!(kind.contains('{'));
    }
    for n in 0..size {
        let kind = KINDS.get(n % PER_TENANT).copied().unwrap_or_default();
        let named = of_tenant(n / PER_TENANT);
        let slot = |name: &str| if name == "{R}" { cedar::SlotId::resource() } else { cedar::SlotId::principal() };
        let filled =
            named.iter().filter(|(name, _)| kind.contains(name)).map(|(name, uid)| Ok((slot(name), uid.parse()?)));
        let filled = filled.collect::<Result<HashMap<_, _>, Failure>>()?;
        set.link(cedar::PolicyId::new(format!("t{}", n % PER_TENANT)), cedar::PolicyId::new(format!("l{n}")), filled)?;
    }
    Ok(set)
}

/// One query with the entities that it is evaluated with.
struct Asked {
    request: cedar::Request,
    entities: cedar::Entities,
}

impl Asked {
    fn of(tenant: usize) -> Result<Self, Failure> {
        let [(_, group), (_, folder), (_, user)] = of_tenant(tenant);
        let (user, group, folder): (cedar::EntityUid, _, cedar::EntityUid) =
            (user.parse()?, group.parse()?, folder.parse()?);
        let dataset: cedar::EntityUid = format!("Dataset::\"d{tenant}\"").parse()?;
        let attributes = [
            ("pii", cedar::RestrictedExpression::new_bool(false)),
            ("rows", cedar::RestrictedExpression::new_long(100)),
            ("owner", cedar::RestrictedExpression::new_entity_uid(user.clone())),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).into();
        let entities = cedar::Entities::from_entities(
            [
                cedar::Entity::new_no_attrs(user.clone(), [group].into()),
                cedar::Entity::new(dataset.clone(), attributes, [folder.clone()].into())?,
                cedar::Entity::new_no_attrs(folder, ["Folder::\"all\"".parse()?].into()),
            ],
            None,
        )?;
        let purpose = cedar::RestrictedExpression::new_string("billing".to_owned());
        let context = cedar::Context::from_pairs([("purpose".to_owned(), purpose)])?;
        let request = cedar::Request::new(user, "Action::\"read\"".parse()?, dataset, context, None)?;
        Ok(Self { request, entities })
    }
}

/// What the server knows: each tenant's data set in its folder.
fn data(size: usize) -> String {
    let entity = |tenant: usize| {
        format!(
            r#"{{"uid": {{"type": "Dataset", "id": "d{tenant}"}},
                "attrs": {{"pii": false, "rows": 100, "owner": {{"__entity": {{"type": "User", "id": "u{tenant}"}}}}}},
                "parents": [{{"type": "Folder", "id": "f{tenant}"}}]}},
               {{"uid": {{"type": "Folder", "id": "f{tenant}"}}, "attrs": {{}}, "parents": [{{"type": "Folder", "id": "all"}}]}}"#
        )
    };
    format!("[{}]", tenants(size).map(entity).collect::<Vec<_>>().join(", "))
}

fn identity(tenant: usize) -> Identity {
    let name = format!("u{tenant}");
    Identity::imagined("User", &name, &[&format!("g{tenant}")])
}

fn query(tenant: usize) -> Query {
    Query {
        principal: EntityUid::new("User", &format!("u{tenant}")),
        on_behalf_of: None,
        action: EntityUid::new("Action", "read"),
        resource: EntityUid::new("Dataset", &format!("d{tenant}")),
        context: [("purpose".into(), Value::string("billing"))].into(),
        environment: Attributes::new(),
        entities: Vec::new(),
    }
}

/// Microseconds of one call, at p50 and p99: every query at least once if the time allows it, ten times over if it does.
fn percentiles(queries: usize, at_most: Duration, mut call: impl FnMut(usize) -> usize) -> (f64, f64) {
    black_box(call(0));
    let begin = Instant::now();
    let mut taken = Vec::new();
    for n in 0..(queries * 10).max(2_000) {
        let start = Instant::now();
        black_box(call(n));
        taken.push(start.elapsed());
        if begin.elapsed() > at_most {
            break;
        }
    }
    taken.sort_unstable();
    let at = |share: f64| taken.get((taken.len() as f64 * share) as usize).map_or(0.0, |took| took.as_secs_f64() * 1e6);
    (at(0.50), at(0.99))
}

/// How many times the calls of one thread two threads get through in the same time of the processor, which is not that of
/// the machine's other work: the median of three.
fn scaling(call: impl Fn(usize) -> usize + Sync) -> f64 {
    let ratio = || {
        let one = calls(1, &call);
        calls(2, &call) / one
    };
    let mut ratios = [ratio(), ratio(), ratio()];
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[1]
}

fn calls(threads: usize, call: &(impl Fn(usize) -> usize + Sync)) -> f64 {
    let count = |offset: usize| {
        let (begin, start) = (Instant::now(), processor_time());
        let mut done = 0_usize;
        while begin.elapsed() < ROUND {
            for n in done..done + 64 {
                black_box(call(offset + n));
            }
            done += 64;
        }
        done as f64 / (processor_time() - start)
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || count(thread * 997))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).sum()
    })
}

/// Seconds that the processor gave to this thread.
fn processor_time() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Memory of this process that is really there.
fn resident_mib() -> Result<f64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
