//! The store, where there is one.

use crate::{Check, OK, Verdict, ensure, equal, step};
use domu_sdk::store::{self, Store};

const SKIPPED: Check = Ok(Some(Verdict::Skipped("the domain was started without a store")));

/// Where this domain may write. Toolstacks differ in what else they leave writable.
const BASE: &str = "data";

pub async fn values() -> Check {
    let Some(store) = store::get() else { return SKIPPED };
    let path = alloc::format!("{BASE}/selftest");
    step("writing", store.write(&path, "value").await)?;
    equal("value", step("reading", store.read_text(&path).await)?.as_str(), "value")?;
    let names = step("directory", store.directory(BASE).await)?;
    ensure(names.iter().any(|name| name == "selftest"), "the new node is not in its directory")?;
    let long = alloc::vec![b'x'; 2000];
    step("writing a long value", store.write(&path, &long).await)?;
    equal("long value", step("reading", store.read(&path).await)?.len(), 2000)?;
    step("removing", store.rm(&path).await)?;
    equal("exists after removal", step("reading", store.exists(&path).await)?, false)?;
    OK
}

pub async fn watch() -> Check {
    let Some(store) = store::get() else { return SKIPPED };
    let path = alloc::format!("{BASE}/watched");
    let watch = step("watching", store.watch(&path).await)?;
    equal("first report", step("report", watch.next().await)?, path.clone())?;
    step("writing", store.write(&path, "1").await)?;
    equal("second report", step("report", watch.next().await)?, path.clone())?;
    cleanup(store, &path).await
}

pub async fn transaction() -> Check {
    let Some(store) = store::get() else { return SKIPPED };
    let path = alloc::format!("{BASE}/transaction");
    step("writing", store.write(&path, "before").await)?;
    let aborted = step("starting", store.transaction().await)?;
    step("writing", aborted.write(&path, "aborted").await)?;
    drop(aborted);
    equal("after aborting", step("reading", store.read_text(&path).await)?.as_str(), "before")?;
    let committed = step("starting", store.transaction().await)?;
    step("writing", committed.write(&path, "after").await)?;
    equal("seen outside", step("reading", store.read_text(&path).await)?.as_str(), "before")?;
    ensure(step("committing", committed.commit().await)?, "an undisturbed transaction collided")?;
    equal("after committing", step("reading", store.read_text(&path).await)?.as_str(), "after")?;
    cleanup(store, &path).await
}

async fn cleanup(store: Store, path: &str) -> Check {
    step("removing", store.rm(path).await)?;
    OK
}
