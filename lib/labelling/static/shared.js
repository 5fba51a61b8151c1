"use strict";
// What all pages with questions share: requests to the server, messages, pictures in a size to see.

const byId = (id) => document.getElementById(id);
const MAX_PIXELATED = 64; // pixels: smaller images are enlarged pixel by pixel
const NO_RESPONSE =
  "The server does not respond, so the last answer may not be saved. Check that the program is " +
  "still running, then press any key to continue after your last saved answer.";

// Fetches what a person sees next, after an action if there is a body. stale: the action was for
// something that the person no longer has. Throws where the server does not respond.
async function request(person, path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(`/person/${person}/${path}`, options);
  if (!response.ok && response.status !== 409) throw new Error(`status ${response.status}`);
  return { stale: response.status === 409, state: await response.json() };
}

function showMessage(text) {
  byId("message").textContent = text;
  byId("message").hidden = !text;
}

// A decoded image whose longer side is about `side` pixels. Throws for one that cannot be decoded.
async function loadImage(source, text, side) {
  const image = new Image();
  image.src = source;
  image.alt = text;
  await image.decode();
  const longer = Math.max(image.naturalWidth, image.naturalHeight);
  const pixelated = longer <= MAX_PIXELATED;
  const scale = side / longer;
  image.classList.toggle("pixelated", pixelated);
  image.width = image.naturalWidth * (pixelated ? Math.max(1, Math.floor(scale)) : Math.min(scale, 3));
  return image;
}
