//! What do the pure parts of one decision cost: the binding, the evaluation by ten policies, decide(), the record's bytes?

use std::hint::black_box;
use std::sync::Arc;

use countersign::domain::{
    Attributes, Binding, Circumstances, Decided, DecisionId, EntityUid, Evaluation, Fact, Identity, MaskSupport, Query,
    REJECTION_STANDS, Reason, Standing, Timestamp, Value, decide, record,
};
use countersign::engine::{PolicySnapshot, Settings};
use countersign::vault::{Place, Vault};
use countersign::wire;
use criterion::{Criterion, criterion_group, criterion_main};

const NOW: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

fn agent() -> Identity {
    Identity::imagined("Agent", "report-bot", &["agents"])
}

fn query(action: &str, dataset: &str) -> Query {
    let context: Attributes = match action {
        "export" => [("destination".into(), Value::string("s3://partner")), ("rows".into(), Value::Long(1_000))].into(),
        _ => Attributes::new(),
    };
    Query {
        principal: agent().uid,
        on_behalf_of: None,
        action: EntityUid::new("Action", action),
        resource: EntityUid::new("Dataset", dataset),
        context,
        environment: Attributes::new(),
        entities: Vec::new(),
    }
}

fn around(query: &Query) -> Circumstances {
    Circumstances {
        binding: Binding::of(query),
        standing: Standing::None,
        justified: true,
        masking: MaskSupport::Declared,
        earlier: None,
        rejection_stands: REJECTION_STANDS,
        now: NOW,
    }
}

fn recorded(query: &Query, evaluation: &Evaluation) -> Fact {
    let agent = Arc::new(agent());
    Fact::Decided(Arc::new(Decided {
        id: DecisionId::from_bytes([7; 16]),
        query: Arc::new(query.clone()),
        binding: Binding::of(query),
        principal: agent.clone(),
        caller: agent,
        outcome: countersign::domain::Outcome::Allow,
        reason: Reason::Permitted,
        determining: evaluation.determining.clone(),
        errors: Vec::new(),
        obligations: Vec::new(),
        digest: evaluation.digest,
        revision: evaluation.revision,
        justification: None,
        request_id: "0192a0f0000070008000000000000000".into(),
        approval: None,
        change: record::Change::None,
        idempotency_key: None,
        repeats: None,
        follows: None,
    }))
}

#[expect(clippy::expect_used, reason = "a bench without a key measures nothing")]
fn vault() -> Vault {
    Vault::new([("bench", &[7; 32][..])]).expect("a good key")
}

fn parts(criterion: &mut Criterion) {
    #[expect(clippy::expect_used, reason = "a bench without policies measures nothing")]
    let snapshot = PolicySnapshot::load(&Settings::new("policies")).expect("the example policies");
    let agent = agent();
    for (name, query) in [("plain", query("read", "weather")), ("gated", query("export", "customers"))] {
        #[expect(clippy::expect_used, reason = "a bench of a refused query measures nothing")]
        let evaluation = snapshot.evaluate(&query, &agent, &agent, NOW).expect("a valid query");
        let around = around(&query);
        let fact = recorded(&query, &evaluation);
        criterion.bench_function(&format!("binding/{name}"), |b| b.iter(|| Binding::of(black_box(&query))));
        criterion.bench_function(&format!("evaluate/{name}"), |b| {
            b.iter(|| snapshot.evaluate(black_box(&query), &agent, &agent, NOW));
        });
        criterion.bench_function(&format!("decide/{name}"), |b| b.iter(|| decide(black_box(&evaluation), &around)));
        criterion.bench_function(&format!("encode/{name}"), |b| b.iter(|| wire::record::encode(black_box(&fact))));
        let vault = vault();
        let place = Place::Journal { sequence: 1, at: NOW };
        let seal = |fact| vault.seal(vault.draft(fact), place);
        // What a record costs sealed, in the place of `encode`; of that, `draft` is done outside the lock of all writers.
        criterion.bench_function(&format!("seal/{name}"), |b| b.iter(|| seal(black_box(&fact))));
        criterion.bench_function(&format!("draft/{name}"), |b| b.iter(|| vault.draft(black_box(&fact))));
        let (clear, sealed) = (wire::record::encode(&fact), seal(&fact).unwrap_or_default());
        println!("record/{name}: {} bytes, sealed {}", clear.len(), sealed.len());
        criterion.bench_function(&format!("decode/{name}"), |b| {
            b.iter(|| wire::record::decode(1, NOW, black_box(&clear)));
        });
        criterion.bench_function(&format!("open/{name}"), |b| b.iter(|| vault.open(1, NOW, black_box(&sealed), place)));
    }
}

criterion_group!(benches, parts);
criterion_main!(benches);
