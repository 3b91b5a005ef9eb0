//! The tagger of names.

use honelm_gateway::pii::tagger::model::Model;

use crate::{detector, shown};

#[test]
fn people_places_companies_and_addresses_are_found() {
    let cases = [
        ("My name is Katarzyna Nowak and I live in Berlin.", vec![("PERSON", "Katarzyna Nowak"), ("GPE", "Berlin")]),
        ("Dear Mr. Thompson, your parcel is late.", vec![("PERSON", "Thompson")]),
        ("Send it to 12 Baker Street please.", vec![("ADDRESS", "12 Baker Street")]),
        ("She works for Nordwind Logistics GmbH as a driver.", vec![("ORGANIZATION", "Nordwind Logistics GmbH")]),
        ("It rained the whole day, and nobody wanted to go out.", vec![]),
        ("Write a Python function that sorts a list of numbers.", vec![]),
    ];
    for (text, expected) in cases {
        let spans = detector().detect(text);
        assert_eq!(shown(text, &spans), expected, "{text}");
    }
}

#[test]
fn a_broken_file_is_no_model() {
    let file = include_bytes!("../../data/tagger.bin");
    assert!(Model::read(file).is_some());
    for broken in [&file[..file.len() - 1], &file[1..], &[], &file[..8], &[file.as_slice(), b"x"].concat()] {
        assert!(Model::read(broken).is_none());
    }
}
