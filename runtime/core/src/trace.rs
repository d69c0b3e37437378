//! W3C Trace Context (level 2): which trace something belongs to, as the headers `traceparent` and `tracestate` say it.

/// The longest `tracestate` that is passed on; the standard asks for at least as much (3.3.1.5).
const MAX_STATE: usize = 512;
/// Members of a `tracestate` at most (3.3.1.1).
const MAX_MEMBERS: usize = 32;
/// Members longer than this are the first to go where there is not room for all (3.3.1.5).
const LARGE_MEMBER: usize = 128;
/// `sampled` and `random`; other flags are not known, and not passed on (3.2.2.5.3).
const KNOWN_FLAGS: u8 = 0b11;
/// Whether the trace is recorded.
const SAMPLED: u8 = 0b1;

/// What a request or an event came with. Only what is valid is ever in it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TraceContext {
    /// `traceparent`.
    pub traceparent: Option<String>,
    /// `tracestate`; none without a `traceparent`.
    pub tracestate: Option<String>,
}

/// A `traceparent` in its parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Parent<'a> {
    /// 32 hex digits.
    pub trace: &'a str,
    /// 16 hex digits: the one above.
    pub span: &'a str,
    /// The flags that are known.
    pub flags: u8,
}

impl TraceContext {
    /// Of the texts of both headers; a `traceparent` that is not valid is ignored with its `tracestate`, and a `tracestate` that is
    /// not valid alone.
    #[must_use]
    pub fn of(traceparent: Option<&str>, tracestate: Option<&str>) -> Self {
        let Some(traceparent) = traceparent.filter(|text| Parent::parse(text).is_some()) else {
            return Self::default();
        };
        Self { traceparent: Some(traceparent.to_owned()), tracestate: tracestate.and_then(state) }
    }
}

impl<'a> Parent<'a> {
    /// Reads a `traceparent`; `None` where it is to be ignored (3.2.2).
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        // Version 00 has exactly these four; later ones may append more.
        let ends_well = parts.next().is_none() || version != "00";
        let fits = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        if !fits || !ends_well || version == "ff" || is_zero(trace) || is_zero(span) || text.len() > MAX_STATE {
            return None;
        }
        let flags = u8::from_str_radix(flags, 16).ok()? & KNOWN_FLAGS;
        Some(Self { trace, span, flags })
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

/// A `tracestate` as it is passed on, bounded; `None` where it is to be ignored, or says nothing.
fn state(text: &str) -> Option<String> {
    let mut members: Vec<&str> = text.split(',').map(|member| member.trim_matches([' ', '\t'])).collect();
    // Empty ones are allowed, and mean nothing.
    members.retain(|member| !member.is_empty());
    if members.is_empty() || members.len() > MAX_MEMBERS || !members.iter().all(|member| is_member(member)) {
        return None;
    }
    let key = |member: &str| member.split('=').next().unwrap_or_default().to_owned();
    let keys: std::collections::HashSet<String> = members.iter().map(|member| key(member)).collect();
    if keys.len() != members.len() {
        return None;
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>().saturating_sub(1);
    while length(&members) > MAX_STATE {
        let large = members.iter().rposition(|member| member.len() > LARGE_MEMBER);
        members.remove(large.unwrap_or(members.len() - 1));
    }
    (!members.is_empty()).then(|| members.join(","))
}

/// `key=value`, or `tenant@system=value` (3.3.1.3).
fn is_member(member: &str) -> bool {
    let Some((key, value)) = member.split_once('=') else { return false };
    let is_value = !value.is_empty()
        && value.len() <= 256
        && value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b',' && byte != b'=');
    let is_part = |part: &str, longest: usize| {
        (1..=longest).contains(&part.len())
            && part.as_bytes()[0] != b'_'
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/'))
            && part.as_bytes()[0].is_ascii_alphanumeric()
    };
    let is_key = match key.split_once('@') {
        Some((tenant, system)) => {
            is_part(tenant, 241) && is_part(system, 14) && system.as_bytes()[0].is_ascii_lowercase()
        }
        None => is_part(key, 256),
    };
    is_key && is_value
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn only_valid_trace_parents_are_taken_up() {
        let sampled = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let parent = Parent::parse(&sampled).unwrap();
        assert_eq!((parent.trace, parent.span, parent.flags), (TRACE, "00f067aa0ba902b7", 1));
        assert!(parent.is_sampled());
        assert!(Parent::parse(&format!("cc-{TRACE}-00f067aa0ba902b7-01-more")).is_some(), "later versions append");
        assert_eq!(Parent::parse(&format!("00-{TRACE}-00f067aa0ba902b7-ff")).unwrap().flags, 3, "only known flags");
        for bad in [
            "",
            "00",
            &format!("00-{TRACE}-00f067aa0ba902b7"),
            &format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            &format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{TRACE}-0000000000000000-01"),
            &format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            &format!("00-{TRACE}-00f067aa0ba902b7-1"),
            &format!(" 00-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(Parent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_trace_state_is_passed_on_as_it_came_or_not_at_all() {
        assert_eq!(
            state("rojo=00f067aa0ba902b7,congo=t61rcWkgMzE").unwrap(),
            "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
        );
        assert_eq!(state(" a=1 ,\t, b@sys=x y ").unwrap(), "a=1,b@sys=x y");
        assert_eq!(state("0key=1,a_-*/=~").unwrap(), "0key=1,a_-*/=~");
        for bad in [
            "",
            " , ",
            "a",
            "=1",
            "a=",
            "A=1",
            "a=1,a=2",
            "a=1=2",
            "a=\u{e9}",
            "_a=1",
            "a@=1",
            "@b=1",
            "a@1b=1",
            &format!("{}=1", "a".repeat(257)),
            &format!("a={}", "1".repeat(257)),
            &(0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(","),
        ] {
            assert_eq!(state(bad), None, "{bad}");
        }
    }

    #[test]
    fn where_there_is_not_room_for_all_large_members_go_first_and_then_the_last_ones() {
        let large = format!("large={}", "x".repeat(200));
        let small: Vec<String> = (0..20).map(|n| format!("key{n}=aaaaaaaaaaaaaaaa")).collect();
        let given = format!("first=1,{large},{}", small.join(","));
        let kept = state(&given).unwrap();
        assert!(kept.len() <= MAX_STATE && kept.starts_with("first=1,key0=") && !kept.contains("large"), "{kept}");
    }

    #[test]
    fn a_trace_state_goes_with_its_parent() {
        let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
        let both = TraceContext::of(Some(&parent), Some("a=1"));
        assert_eq!((both.traceparent.as_deref(), both.tracestate.as_deref()), (Some(parent.as_str()), Some("a=1")));
        assert_eq!(TraceContext::of(Some("00-0-0-0"), Some("a=1")), TraceContext::default());
        assert_eq!(TraceContext::of(None, Some("a=1")), TraceContext::default());
        let alone = TraceContext::of(Some(&parent), Some("a"));
        assert_eq!((alone.traceparent, alone.tracestate), (Some(parent), None));
    }
}
