//! News of the worker and wishes of the window, to a client whose worker is none.

use reinpath_model::event::{Finished, Stop};
use reinpath_model::request::{Loaded, Progress};

use super::*;
use crate::viewer::tile_cache::SlideKey;
use crate::viewer::tile_plan::tests::slide;
use crate::window::answer_view::QuestionText;
use crate::window::update::How;

/// A request that no worker gave: theirs count from 1.
const LOAD: u64 = 100;

/// A client that loads `models/test` as request [`LOAD`] of a worker that is never started, and what it tells the window.
fn with_client(test: impl FnOnce(&mut Client<'_>, &Receiver<Event>)) {
    let (events, told) = EventSender::new(egui::Context::default());
    let worker = Worker::start(Some("true"), || {}).unwrap();
    let mut client = Client::new(worker, &events, Some("models/test".into()));
    client.is_load_asked_for = true;
    client.load = Some(RunningLoad { request: LOAD, since: Instant::now() });
    test(&mut client, &told);
}

fn load_failed() -> WorkerEvent {
    WorkerEvent::LoadFailed { id: LOAD, error: "the tensor a is missing: uni.safetensors".to_owned() }
}

#[test]
fn a_question_whose_model_cannot_be_loaded_is_told_why_and_told_once() {
    with_client(|client, told| {
        client.current =
            Some(Current { order: 7, request: 2, is_read: false, slide: slide(), patches: Vec::new() });
        assert!(client.hear(load_failed()));
        let no_model = AskEvent::Failed { error: "no model is loaded".to_owned() };
        assert!(client.hear(WorkerEvent::Answer { id: 2, event: no_model }));
        assert!(!client.is_load_asked_for, "the next question tries again");
        let told: Vec<Event> = told.try_iter().collect();
        let [Event::Ask { id: 7, event: AskEvent::Failed { error } }, Event::Worker(state)] = told.as_slice()
        else {
            panic!("{told:?}")
        };
        assert_eq!(error, "The tensor a is missing: uni.safetensors");
        assert!(matches!(state, WorkerState::Ended(sentence) if sentence == error));
    });
}

#[test]
fn without_a_question_the_window_says_that_the_model_cannot_be_loaded() {
    with_client(|client, told| {
        client.hear(load_failed());
        assert!(matches!(told.try_recv(), Ok(Event::Problem(sentence)) if sentence.contains("tensor a")));
    });
}

#[test]
fn the_time_of_a_load_counts_from_its_beginning() {
    with_client(|client, told| {
        for fraction in [0.1, 0.2] {
            let progress = Progress { what: "weights".to_owned(), fraction };
            client.hear(WorkerEvent::Progress { id: LOAD, progress });
        }
        let begun: Vec<Instant> = told
            .try_iter()
            .filter_map(|event| match event {
                Event::Worker(WorkerState::Loading { since, .. }) => Some(since),
                _ => None,
            })
            .collect();
        assert!(begun.len() == 2 && begun[0] == begun[1]);
    });
}

fn progress(id: u64) -> WorkerEvent {
    WorkerEvent::Progress { id, progress: Progress { what: "weights".to_owned(), fraction: 0.5 } }
}

#[test]
fn a_cancelled_load_leaves_the_worker_idle_and_its_question_told_and_late_news_of_it_is_ignored() {
    with_client(|client, told| {
        client.current =
            Some(Current { order: 7, request: 2, is_read: false, slide: slide(), patches: Vec::new() });
        assert!(client.fulfil(Wish::CancelLoad));
        for late in [progress(LOAD), load_failed()] {
            assert!(client.hear(late));
        }
        let news: Vec<Event> = told.try_iter().collect();
        let [Event::Ask { id: 7, event: AskEvent::Failed { error } }, Event::Worker(WorkerState::Idle)] =
            news.as_slice()
        else {
            panic!("{news:?}")
        };
        assert_eq!(error, "Loading the model was cancelled.");
        assert!(client.fulfil(Wish::CancelLoad) && client.fulfil(Wish::WarmUp));
        assert!(told.try_recv().is_err(), "there is nothing to cancel, and only a question loads again");
        assert!(client.load());
        assert!(matches!(told.try_recv(), Ok(Event::Worker(WorkerState::Loading { .. }))));
    });
}

fn loaded(id: u64) -> WorkerEvent {
    let loaded = Loaded { memory: 9, parameters: 2, device: "cpu".to_owned(), precision: "f32".to_owned() };
    WorkerEvent::Loaded { id, loaded }
}

#[test]
fn a_load_that_ended_before_it_could_be_cancelled_is_told_and_not_repeated() {
    with_client(|client, told| {
        assert!(client.fulfil(Wish::CancelLoad) && client.hear(loaded(LOAD)));
        let news: Vec<Event> = told.try_iter().collect();
        let [Event::Worker(WorkerState::Idle), Event::Worker(WorkerState::Ready { memory: 9, .. })] =
            news.as_slice()
        else {
            panic!("{news:?}")
        };
        assert!(client.load() && client.fulfil(Wish::WarmUp));
        assert!(told.try_recv().is_err(), "the model is there");
    });
}

#[test]
fn the_late_end_of_a_cancelled_load_is_not_taken_for_that_of_the_next() {
    with_client(|client, told| {
        assert!(client.fulfil(Wish::CancelLoad) && client.load() && client.hear(loaded(LOAD)));
        let news: Vec<Event> = told.try_iter().collect();
        let [Event::Worker(WorkerState::Idle), Event::Worker(WorkerState::Loading { .. })] = news.as_slice()
        else {
            panic!("{news:?}")
        };
        let next = client.load.as_ref().map(|load| load.request).unwrap();
        assert!(client.hear(loaded(next)));
        assert!(matches!(told.try_recv(), Ok(Event::Worker(WorkerState::Ready { .. }))));
    });
}

#[test]
fn a_question_goes_with_the_load_that_is_cancelled_and_its_late_answer_is_ignored() {
    with_client(|client, told| {
        client.current =
            Some(Current { order: 7, request: 2, is_read: false, slide: slide(), patches: Vec::new() });
        assert!(client.fulfil(Wish::CancelLoad));
        let finished = AskEvent::Finished(Finished::cancelled_before_it_began());
        assert!(client.hear(WorkerEvent::Answer { id: 2, event: finished }));
        let ends = told.try_iter().filter(|event| matches!(event, Event::Ask { .. })).count();
        assert_eq!(ends, 1);
    });
}

#[test]
fn a_load_that_is_repeated_for_a_question_is_the_only_one_also_when_the_question_is_stopped() {
    for is_stopped in [false, true] {
        with_client(|client, told| {
            assert!(client.hear(loaded(LOAD)));
            client.current =
                Some(Current { order: 7, request: 102, is_read: false, slide: slide(), patches: Vec::new() });
            // The question came to the worker before the news of its end came here.
            assert!(client.hear(WorkerEvent::Ended("it was killed".to_owned())));
            if is_stopped {
                let stopped = AskEvent::Finished(Finished::cancelled_before_it_began());
                assert!(client.hear(WorkerEvent::Answer { id: 102, event: stopped }));
            }
            assert!(client.hear(progress(102)) && client.load() && client.hear(loaded(102)));
            assert!(client.load(), "the next question");
            let states: Vec<WorkerState> = told
                .try_iter()
                .filter_map(|event| match event {
                    Event::Worker(state) => Some(state),
                    _ => None,
                })
                .collect();
            let [
                WorkerState::Ready { .. },
                WorkerState::Ended(_),
                WorkerState::Loading { .. },
                WorkerState::Ready { .. },
            ] = states.as_slice()
            else {
                panic!("{states:?}")
            };
            assert!(client.load.is_none());
        });
    }
}

#[test]
fn a_stop_that_comes_as_the_answer_ends_stops_nothing_else() {
    with_client(|client, told| {
        client.load = None;
        client.current =
            Some(Current { order: 7, request: 2, is_read: false, slide: slide(), patches: Vec::new() });
        let finished = Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() };
        assert!(client.hear(WorkerEvent::Answer { id: 2, event: AskEvent::Finished(finished) }));
        client.current =
            Some(Current { order: 8, request: 3, is_read: false, slide: slide(), patches: Vec::new() });
        assert!(client.fulfil(Wish::Stop { id: 7 }));
        assert!(client.current.as_ref().is_some_and(|current| current.order == 8));
        let told: Vec<Event> = told.try_iter().collect();
        assert!(matches!(told.as_slice(), [Event::Ask { id: 7, event: AskEvent::Finished(_) }]), "{told:?}");
    });
}

fn states(told: &Receiver<Event>) -> Vec<WorkerState> {
    let states = told.try_iter().filter_map(|event| match event {
        Event::Worker(state) => Some(state),
        _ => None,
    });
    states.collect()
}

#[test]
fn a_model_that_gives_up_its_memory_is_loaded_again_by_the_next_question_only() {
    with_client(|client, told| {
        assert!(client.hear(loaded(LOAD)) && client.fulfil(Wish::Release));
        assert!(matches!(states(told).as_slice(), [WorkerState::Ready { .. }, WorkerState::Idle]));
        assert!(client.fulfil(Wish::Release) && client.fulfil(Wish::WarmUp));
        assert!(told.try_recv().is_err(), "there is nothing to give up, and only a question loads again");
        assert!(client.load());
        assert!(matches!(states(told).as_slice(), [WorkerState::Loading { .. }]));
    });
}

#[test]
fn an_answer_is_finished_before_the_model_gives_up_its_memory() {
    with_client(|client, told| {
        assert!(client.hear(loaded(LOAD)));
        client.current =
            Some(Current { order: 7, request: 102, is_read: false, slide: slide(), patches: Vec::new() });
        assert!(client.fulfil(Wish::Release));
        let heading = AskEvent::Stage { stage: reinpath_model::stage::AnswerStage::Analysis };
        assert!(client.hear(WorkerEvent::Answer { id: 102, event: heading }));
        assert!(matches!(states(told).as_slice(), [WorkerState::Ready { .. }]), "it still writes");
        let finished = Finished { stop: Stop::End, ..Finished::cancelled_before_it_began() };
        assert!(client.hear(WorkerEvent::Answer { id: 102, event: AskEvent::Finished(finished) }));
        assert_eq!(states(told), [WorkerState::Idle]);
    });
}

#[test]
fn a_load_that_goes_on_is_given_up_with_the_memory_that_it_has_taken() {
    with_client(|client, told| {
        assert!(client.fulfil(Wish::Release));
        assert_eq!(states(told), [WorkerState::Idle]);
        assert!(client.load.is_none() && !client.is_load_asked_for && client.waits_for_question);
        for late in [progress(LOAD), loaded(LOAD)] {
            assert!(client.hear(late));
        }
        assert!(told.try_recv().is_err(), "its process has been ended meanwhile");
    });
}

#[test]
fn a_package_that_cannot_be_read_leaves_the_load_of_the_old_one_alone() {
    with_client(|client, told| {
        let folder = tempfile::tempdir().unwrap();
        let wish = Wish::Use { folder: folder.path().to_owned() };
        assert!(client.fulfil(wish) && client.hear(progress(LOAD)));
        let news: Vec<Event> = told.try_iter().collect();
        let [Event::PackageRefused { sentence, .. }, Event::Worker(WorkerState::Loading { .. })] =
            news.as_slice()
        else {
            panic!("{news:?}")
        };
        assert!(sentence.starts_with("There is no model package here"), "{sentence}");
        assert_eq!(client.folder.as_deref(), Some(Path::new("models/test")));
    });
}

#[test]
fn another_package_is_loaded_at_once_and_news_of_the_old_load_is_ignored() {
    with_client(|client, told| {
        // Only its manifest and the sizes of its files are read.
        let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/demo");
        assert!(client.fulfil(Wish::Use { folder: demo.clone() }));
        assert!(client.hear(progress(LOAD)) && client.hear(load_failed()));
        let news: Vec<Event> = told.try_iter().collect();
        let [Event::Package(Ok(info)), Event::Worker(WorkerState::Loading { .. })] = news.as_slice() else {
            panic!("{news:?}")
        };
        assert_eq!((&info.folder, client.folder.as_ref()), (&demo, Some(&demo)));
        assert!(client.is_load_asked_for && client.load.as_ref().is_some_and(|load| load.request == 1));
    });
}

#[test]
fn a_package_that_was_used_last_and_is_gone_gives_place_to_the_demo_with_a_sentence() {
    let (events, told) = EventSender::new(egui::Context::default());
    let folder = tempfile::tempdir().unwrap();
    let first = open_first(Some(folder.path().join("gone")), &events);
    if let Ok(info) = first {
        assert!(info.folder.ends_with("models/demo"), "{}", info.folder.display());
    }
    match told.try_recv() {
        Ok(Event::Problem(sentence)) => {
            assert!(sentence.contains("there is no model package here") && sentence.ends_with("gone"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_request_has_the_pixel_limit_of_its_order() {
    let how = How { max_pixels: Some(200_704), ..How::default() };
    let text = QuestionText { question: "What is seen?".to_owned(), ..QuestionText::default() };
    let order = AskOrder { id: 7, slide: SlideKey(1), regions: Vec::new(), text, how };
    let (request, _) = question::request(order, &ModelInfo::scripted_vision("vision"), &[]).unwrap();
    assert_eq!(request.max_pixels, Some(200_704));
}

fn reading() -> Current {
    Current { order: 7, request: 2, is_read: true, slide: slide(), patches: Vec::new() }
}

#[test]
fn maps_are_told_with_the_orders_number_and_those_of_another_request_are_not() {
    with_client(|client, told| {
        client.current = Some(reading());
        for id in [1, 2] {
            assert!(client.hear(WorkerEvent::Maps { id, maps: Vec::new() }));
        }
        let told: Vec<Event> = told.try_iter().collect();
        let [Event::Review(ReviewEvent::Cases(CasesEvent::Maps { id: 7, maps }))] = told.as_slice() else {
            panic!("{told:?}")
        };
        assert!(maps.is_empty());
    });
}

#[test]
fn reading_an_answer_for_its_maps_gives_way_to_a_question_another_package_and_the_memory() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/models/demo");
    for wish in [Wish::Use { folder: demo }, Wish::Release] {
        with_client(|client, told| {
            client.current = Some(reading());
            assert!(client.fulfil(wish));
            let first = told.try_recv();
            let Ok(Event::Ask { id: 7, event: AskEvent::Finished(finished) }) = &first else {
                panic!("{first:?}")
            };
            assert_eq!(finished.stop, Stop::Cancelled);
            assert!(client.current.is_none());
            let refused = |event: Event| matches!(event, Event::PackageRefused { .. });
            assert!(!told.try_iter().any(refused), "nothing is in the way any more");
            let late = AskEvent::Finished(Finished::cancelled_before_it_began());
            assert!(client.hear(WorkerEvent::Answer { id: 2, event: late }));
            assert!(!told.try_iter().any(|event| matches!(event, Event::Ask { .. })), "it is told once");
        });
    }
}

#[test]
fn an_answer_that_is_written_is_not_given_up() {
    with_client(|client, told| {
        client.current = Some(Current { is_read: false, ..reading() });
        assert!(client.give_up_reading() && client.current.is_some());
        assert!(told.try_recv().is_err());
    });
}
