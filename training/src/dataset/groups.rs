//! What rows have in common that must not lie in two parts of a data set.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rows::Row;

/// Keys of a row, none of them the format's own, that name where an image comes from when neither patient nor slide is
/// known: pictures that were cut, turned or mirrored from one piece of tissue share its value.
const CLUSTER_KEYS: [&str; 2] = ["source_cluster", "source_tissue_cluster"];

/// What links two rows: they show the same thing, or parts of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    Patient,
    Slide,
    SourceCluster,
    /// The same file.
    Image,
    /// Files with the same pixels.
    Pixels,
}

impl Link {
    /// Its name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Slide => "slide",
            Self::SourceCluster => "source cluster",
            Self::Image => "image",
            Self::Pixels => "picture",
        }
    }
}

/// All that a row can share with others; no pixels are compared.
pub(super) fn links(row: &Row) -> Vec<(Link, Cow<'_, str>)> {
    let mut links = origins(row);
    links.extend(row.images.iter().map(|image| (Link::Image, Cow::Borrowed(image.as_str()))));
    links
}

/// Patient, slide and source cluster, as far as the row names them.
pub(super) fn origins(row: &Row) -> Vec<(Link, Cow<'_, str>)> {
    let named = [(Link::Patient, &row.patient), (Link::Slide, &row.slide)];
    let mut origins: Vec<(Link, Cow<'_, str>)> = named
        .into_iter()
        .filter_map(|(link, name)| Some((link, Cow::Borrowed(name.as_deref()?))))
        .filter(|(_, name)| !name.trim().is_empty())
        .collect();
    let cluster = CLUSTER_KEYS.iter().find_map(|&key| row.more.get(key));
    origins.extend(match cluster {
        Some(Value::String(name)) => Some((Link::SourceCluster, Cow::Borrowed(name.as_str()))),
        Some(Value::Number(number)) => Some((Link::SourceCluster, Cow::Owned(number.to_string()))),
        _ => None,
    });
    origins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::for_tests::question;

    #[test]
    fn rows_are_linked_by_all_that_they_name() {
        let mut row = question("a", "x.png");
        row.patient = Some("p1".to_owned());
        row.slide = Some(" ".to_owned());
        row.more.insert("source_cluster".to_owned(), Value::from(7));
        let links: Vec<(Link, String)> =
            links(&row).into_iter().map(|(link, name)| (link, name.into_owned())).collect();
        let want = [(Link::Patient, "p1"), (Link::SourceCluster, "7"), (Link::Image, "x.png")];
        assert_eq!(links, want.map(|(link, name)| (link, name.to_owned())));
        assert!(origins(&question("a", "x.png")).is_empty());
    }
}
