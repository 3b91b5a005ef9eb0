//! The confidence of a loaded model, as a gateway asks for it before it chooses a route.

use std::sync::Arc;

use honelm::{ChatAsk, Generation, Message, Model, Samples};
use honelm_backend::block_on;
use honelm_server::{Job, Prompt, collect, models};

use crate::common::{config, run_options, runtime};

fn messages() -> Vec<Message> {
    vec![Message::new("user", "Who are you, and where do you live?")]
}

#[test]
fn a_job_has_the_confidence_of_the_model_and_answers_from_its_cache() {
    let registry = Arc::new(models(&config(), &run_options(), None).unwrap());
    let samples = Samples { tokens: 6, temperature: 0.7 };
    let how = Generation::greedy(4);
    let (found, sampled, answer) = runtime().block_on(async {
        let lease = registry.get("pocket", None).await.unwrap();
        let job = Job::new(Prompt::Chat { messages: messages(), options: Default::default() }, how.clone());
        let found = lease.confidence(&job, None).await.unwrap();
        let sampled = lease.confidence(&job, Some(samples)).await.unwrap();
        let answer = collect(&mut lease.submit(job).unwrap(), 1).await.unwrap().remove(0);
        (found, sampled, answer)
    });
    assert_eq!(
        (answer.usage.prompt_tokens, answer.usage.cached_tokens),
        (found.prompt_tokens, found.prompt_tokens - 1)
    );
    assert_eq!((found.cached_tokens, found.agreement), (0, None));

    let path = honelm::locate(None, None).unwrap();
    let mut model = Model::open(&path, &run_options(), &mut |_| true).unwrap();
    let (ask, cancel) = (ChatAsk::from(how), honelm::Cancel::new());
    let own = block_on(model.loaded_mut().confidence(&messages(), &ask, Some(samples), &cancel, &|| 0.0));
    let own = own.unwrap().unwrap();
    for found in [&found, &sampled] {
        let figures = (found.top_probability, found.margin, found.entropy);
        assert_eq!(figures, (own.top_probability, own.margin, own.entropy));
    }
    let [of_job, of_model] = [&sampled, &own].map(|found| found.agreement.unwrap());
    assert_eq!((of_job.share, of_job.tokens), (of_model.share, of_model.tokens));
    assert!(of_job.tokens > 0 && of_job.tokens <= 12, "{of_job:?}");
}

#[test]
fn a_prompt_that_is_too_long_has_no_confidence_but_an_error() {
    let registry = Arc::new(models(&config(), &run_options(), None).unwrap());
    let error = runtime().block_on(async {
        let lease = registry.get("pocket", None).await.unwrap();
        let prompt = Prompt::Text("word ".repeat(2000));
        lease.confidence(&Job::new(prompt, Generation::greedy(4)), None).await.unwrap_err()
    });
    assert!(error.to_string().contains("too long"), "{error}");
}
