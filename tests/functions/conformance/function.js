"use strict";
// The functions that behave alike in every runtime, in JavaScript.

const { createHash } = require("node:crypto");
const { spawn } = require("node:child_process");
const fs = require("node:fs");

let calls = 0;

class NoSuchOrder extends Error {}

exports.measure = (event) => [event.body.length, createHash("sha256").update(event.body).digest("hex")];

exports.sees = (event, context) => {
  calls += 1;
  const { id, source, type, time, datacontenttype } = event;
  const remaining = context.remainingMs();
  return {
    calls,
    pid: process.pid,
    data: event.data,
    event: { id, source, type, time, datacontenttype },
    caller: event.call.caller,
    function: context.function,
    attempt: context.attempt,
    remaining: 0 < remaining && remaining <= 60_000,
    greeting: process.env.GREETING,
  };
};

exports.returns = (event) =>
  ({
    object: { a: [1, 2.5, null, true, "ü"] },
    list: [1, "two"],
    number: 7,
    text: "grüße",
    nothing: null,
    bytes: Buffer.from([0, 255]),
    whole: {
      statusCode: 201,
      headers: { "X-Name": "value", "Content-Type": "text/css" },
      cookies: ["a=1", "b=2"],
      body: "Ym9keQ==",
      isBase64Encoded: true,
    },
    impossible: { statusCode: 99 },
    header: { statusCode: 200, headers: { "X-Split": "a\r\nX-Evil: b" } },
  })[event.data];

exports.grows_result = (event) => "x".repeat(event.data);

exports.fails = async () => {
  throw new NoSuchOrder("no such order: 17");
};

exports.rejects = (event, context) => context.reject("never again");

exports.retries = (event, context) => context.retry({ after: 7.5 });

exports.sends = (event, context) => {
  const options = { delay: 2, id: "o1", headers: { a: "b" }, correlationId: "c", replyTo: "answers" };
  context.send("orders", { n: 1 }, options);
  context.spawn("ship", "text", { id: "s1" });
  return "sent";
};

exports.prints = (event, context) => {
  console.log(`out ${event.data}`);
  fs.writeSync(2, `err ${event.data}\n`);
  context.log.warning(`log ${event.data}`);
};

let met = null;

/** Waits until another call of this process is as far. */
exports.meets = async (event) => {
  console.log(`begin ${event.data}`);
  if (met === null) await new Promise((resolve) => (met = resolve));
  else met();
  console.log(`met ${event.data}`);
  return process.pid;
};

exports.waits = async (event, context) => {
  console.log("waiting");
  await new Promise((resolve, reject) => context.signal.addEventListener("abort", () => reject(context.signal.reason)));
};

exports.spins = () => {
  console.log("spinning");
  for (;;);
};

exports.stays = async () => {
  console.log(`child ${spawn("sleep", ["600"], { stdio: "ignore" }).pid}`);
  await new Promise((resolve) => setTimeout(resolve, 600_000));
};

exports.exits = (event) => {
  console.log("last words");
  process.exit(event.data);
};

exports.dies = () => process.abort();

exports.leaves_a_child = () => spawn("sleep", ["600"], { stdio: "ignore" }).pid;

exports.hoards = async () => {
  const kept = [];
  for (;;) {
    kept.push(Buffer.alloc(8 << 20, 1));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
};
