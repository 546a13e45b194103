//! A place in a text that holds personal data or a secret, and the rule for places that overlap.

use std::ops::Range;

use crate::domain::DataKind;

/// How sure a detector is, in percent.
pub type Confidence = u8;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: DataKind,
    /// Bytes of the text that was searched.
    pub span: Range<usize>,
    pub confidence: Confidence,
    /// What made it one, in a few words; never the value.
    pub why: &'static str,
    pub layer: Layer,
}

/// Where in the text the value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// As it is written, or as it reads once percent signs, escapes and look-alike digits are undone.
    Plain,
    /// Somewhere within the base64 that the span covers.
    Base64,
}

/// Overlapping findings become one that covers all of them: nothing that any detector was sure of stays readable. It takes the
/// kind of the surest; then of the longest; then of the one that begins first; then the kind whose name comes first.
pub fn resolve(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.span.start);
    let mut resolved: Vec<Finding> = Vec::with_capacity(findings.len());
    let mut leader: Option<Finding> = None;
    for next in findings {
        match (resolved.last_mut(), &mut leader) {
            (Some(last), Some(surest)) if next.span.start < last.span.end => {
                let span = last.span.start..last.span.end.max(next.span.end);
                if rank(&next) > rank(surest) {
                    *surest = next;
                }
                // What reaches beyond the base64 cannot be opened and closed again as base64.
                let layer = if surest.span == span { surest.layer } else { Layer::Plain };
                *last = Finding { span, layer, ..surest.clone() };
            }
            _ => {
                leader = Some(next.clone());
                resolved.push(next);
            }
        }
    }
    resolved
}

fn rank(finding: &Finding) -> impl Ord + use<> {
    use std::cmp::Reverse;
    (finding.confidence, finding.span.len(), Reverse(finding.span.start), Reverse(finding.kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(kind: DataKind, span: Range<usize>, confidence: Confidence) -> Finding {
        Finding { kind, span, confidence, why: "", layer: Layer::Plain }
    }

    #[test]
    fn overlapping_findings_become_one_over_all_of_them_named_by_the_surest() {
        let found = resolve(vec![
            finding(DataKind::EMAIL_ADDRESS, 8..20, 90),
            finding(DataKind::URL_CREDENTIALS, 0..12, 95),
            finding(DataKind::PHONE_NUMBER, 18..25, 60),
            finding(DataKind::PERSON, 25..30, 60),
        ]);
        let read: Vec<_> = found.iter().map(|found| (found.kind.as_str(), found.span.clone())).collect();
        assert_eq!(read, [("URL_CREDENTIALS", 0..25), ("PERSON", 25..30)]);
    }

    #[test]
    fn equally_sure_findings_are_named_by_the_longer() {
        let found = resolve(vec![finding(DataKind::US_SSN, 0..9, 80), finding(DataKind::PHONE_NUMBER, 0..11, 80)]);
        assert_eq!((found[0].kind.as_str(), found[0].span.clone()), ("PHONE_NUMBER", 0..11));
    }
}
