// The stream of messages of a page's events: it goes on while any event that was begun has not ended.
// Gradio's server ends the stream once no event waits; its client begins an event without a stream of its own if it has not
// heard of that yet, and then waits for ever: nothing happens, and further clicks count as the same event. Measured: on 2
// busy cores the text that a page begins with did not come in one of 30 visits.
(() => {
  const ask = window.fetch.bind(window), begun = new Set(); // ids of events
  const CLOSED = '"msg":"close_stream"', ENDED = /^data: \{"msg":"process_completed","event_id":"(\w+)"/;

  const begin = async (response) => {
    const { event_id: id } = await response.clone().json().catch(() => ({}));
    if (id) begun.add(id);
    return response;
  };

  // The same answer, with another one like it in place of its end while events wait for theirs.
  const goOn = (answer, again) => {
    let reader = answer.body.getReader(), rest = '', known = null; // events that waited at the last end
    const decoder = new TextDecoder(), encoder = new TextEncoder();
    // What may be passed on of whole messages; null where the stream must go on.
    const sift = (messages) => {
      for (const message of messages) begun.delete(ENDED.exec(message)?.[1]);
      const isClosed = messages.at(-1).includes(CLOSED), waits = [...begun].join();
      if (!isClosed || !waits || waits === known) return messages.join('\n\n');
      known = waits;
      return null;
    };
    const pull = async (controller) => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) { if (rest) controller.enqueue(encoder.encode(rest)); controller.close(); return; }
        const messages = (rest + decoder.decode(value, { stream: true })).split('\n\n');
        rest = messages.pop();
        if (!messages.length) continue;
        const passed = sift(messages);
        if (passed !== null) { controller.enqueue(encoder.encode(`${passed}\n\n`)); return; }
        const before = messages.slice(0, -1);
        if (before.length) controller.enqueue(encoder.encode(`${before.join('\n\n')}\n\n`));
        const more = await again();
        if (!more.ok || !more.body) { controller.enqueue(encoder.encode(`${messages.at(-1)}\n\n`)); controller.close(); return; }
        reader = more.body.getReader();
        rest = '';
        if (before.length) return;
      }
    };
    return new Response(new ReadableStream({ pull, cancel: (reason) => reader.cancel(reason) }), answer);
  };

  window.fetch = async (target, options) => {
    const address = String(target?.url ?? target);
    if (address.includes('/queue/join')) return begin(await ask(target, options));
    if (!address.includes('/queue/data')) return ask(target, options);
    const again = () => ask(target instanceof Request ? target.clone() : target, options);
    const answer = await again();
    return answer.ok && answer.body ? goOn(answer, again) : answer;
  };
})();
