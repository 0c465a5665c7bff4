//! A check's findings as sentences and as a table.

use std::collections::BTreeMap;
use std::fmt;

use super::{CheckReport, Finding, FindingKind, Found, Place};
use crate::dataset::table::{Table, counted, grouped};
use crate::dataset::text::split_name;

/// Places that people are shown of each finding.
const SHOWN: usize = 3;

/// Everything found, by kind.
pub(super) fn findings(found: Vec<Found>) -> Vec<Finding> {
    let mut by_kind: BTreeMap<FindingKind, Vec<Place>> = BTreeMap::new();
    for (kind, place) in found {
        by_kind.entry(kind).or_default().push(place);
    }
    by_kind
        .into_iter()
        .map(|(kind, places)| Finding {
            kind,
            stops: kind.stops(),
            sentence: sentence(kind, places.len()),
            count: places.len(),
            places,
        })
        .collect()
}

fn sentence(kind: FindingKind, n: usize) -> String {
    let rows = counted(n, "row", "rows");
    let times = counted(n, "time", "times");
    match kind {
        FindingKind::NoRows => "There are no rows.".to_owned(),
        FindingKind::BrokenRow => {
            format!("{} cannot be read as a row: mend or remove it.", counted(n, "line", "lines"))
        }
        FindingKind::RepeatedId => format!("{rows} with an id that another row has: give each its own."),
        FindingKind::MissingImage => format!(
            "{} not there: put it where the row says, or remove the row.",
            counted(n, "image is", "images are")
        ),
        FindingKind::UnreadableImage => {
            format!("{} cannot be used: replace it, or remove its rows.", counted(n, "image", "images"))
        }
        FindingKind::ImageMark => {
            format!("{rows} with <image> in the text, where the program itself puts the images: remove it.")
        }
        FindingKind::TooLong => {
            format!("{rows} longer than the model reads: shorten the text, or name fewer images.")
        }
        FindingKind::Leakage => format!(
            "Leakage, {times}: what is measured on one part was seen in another. `dataset split` makes parts \
             that share nothing."
        ),
        FindingKind::WithoutText => format!("{} without a text.", counted(n, "caption", "captions")),
        FindingKind::WithoutStages => {
            format!(
                "{rows} without the three stages: of no use for the cold start, whatever else they serve."
            )
        }
        FindingKind::Unformatted => {
            format!("{rows} whose answer, written out, would not earn the reward for its format.")
        }
        FindingKind::OtherConclusion => format!("{rows} whose conclusion does not name what the label says."),
        FindingKind::RepeatedChoice => format!("{rows} with the same choice twice: neither is wrong."),
        FindingKind::UnknownSubtask => {
            format!("{rows} of a sub-task that the list of sub-tasks does not have.")
        }
        FindingKind::StrayEmphasis => {
            format!("Emphasis, {times}: on words that are not in the answer, so that it does nothing.")
        }
        FindingKind::LongAnswer => {
            format!("{rows} with an answer longer than the package writes: it would be cut off.")
        }
        FindingKind::Scale => {
            format!("Images at another scale, size or shape than the package was made for, {times}.")
        }
        FindingKind::UnknownOrigin => {
            "Some rows name neither patient nor slide nor source cluster: whether the \
                                       parts share any cannot be told."
                .to_owned()
        }
        FindingKind::NotHeldOut => {
            "Nothing is held out, so that nothing can be measured on these rows: `dataset split` does it."
                .to_owned()
        }
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = counted(self.rows, "row", "rows");
        writeln!(f, "{}: {rows}, {}.", self.path.display(), counted(self.images, "image", "images"))?;
        if let (Some(longest), Some(limit)) = (self.longest, self.limit) {
            writeln!(
                f,
                "The longest row has {} tokens; the model reads {}.",
                grouped(longest),
                grouped(limit)
            )?;
        }
        let mut parts = Table::new(&["part", "rows"]);
        for (&part, &n) in &self.parts {
            parts.row(vec![split_name(part).to_owned(), grouped(n)]);
        }
        let mut usable = Table::new(&["of use for", "rows"]);
        for (purpose, &n) in &self.usable {
            usable.row(vec![purpose.name().to_owned(), grouped(n)]);
        }
        if self.rows > 0 {
            write!(f, "\n{parts}\n{usable}")?;
        }
        let (stop, go_on): (Vec<&Finding>, Vec<&Finding>) = self.findings.iter().partition(|f| f.stops);
        for (title, findings) in
            [("Would stop a run, or make its figures worthless", stop), ("Worth knowing", go_on)]
        {
            if !findings.is_empty() {
                writeln!(f, "\n{title}:")?;
            }
            findings.iter().try_for_each(|finding| write_finding(f, finding))?;
        }
        if self.findings.is_empty() {
            writeln!(f, "\nNothing is wrong with it.")?;
        }
        Ok(())
    }
}

fn write_finding(f: &mut fmt::Formatter<'_>, finding: &Finding) -> fmt::Result {
    writeln!(f, "- {}", finding.sentence)?;
    for place in finding.places.iter().take(SHOWN) {
        let at = match (place.line, place.id.as_str()) {
            (0, _) => String::new(),
            (line, "") => format!("line {line}: "),
            (line, id) => format!("line {line}, {id}: "),
        };
        writeln!(f, "    {at}{}", place.detail)?;
    }
    match finding.places.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "    and {} more", grouped(more)),
    }
}
