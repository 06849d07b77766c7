// What the page says, in two languages.

export const TEXTS = {
  en: {
    title: "Separate a song",
    about: "Vocals, drums, bass and the rest, separated in this browser. Nothing is uploaded.",
    choose: "Choose a song, or drop it here",
    cancel: "Cancel",
    loading: "The model is being loaded …",
    ready: "Ready. It computes with {backend}.",
    decoding: "The song is being read …",
    separating: "Separating: {percent} %",
    done: "Done.",
    cancelled: "Cancelled.",
    stems: "Stems",
    download: "Download",
    listen: "Listen to {stem}",
    unread: "The browser cannot read this file as sound; take WAV, FLAC, MP3, Ogg or M4A.",
    channels: "The song has {count} channels; take one with one or two.",
    failed: "It did not work: {reason}",
    licence: "Model: {name}, licence {license}.",
    language: "Language",
    vocals: "Vocals",
    drums: "Drums",
    bass: "Bass",
    other: "Other",
  },
  es: {
    title: "Separar una canción",
    about: "Voz, batería, bajo y el resto, separados en este navegador. No se sube nada.",
    choose: "Elige una canción o suéltala aquí",
    cancel: "Cancelar",
    loading: "Se está cargando el modelo …",
    ready: "Listo. Calcula con {backend}.",
    decoding: "Se está leyendo la canción …",
    separating: "Separando: {percent} %",
    done: "Terminado.",
    cancelled: "Cancelado.",
    stems: "Pistas",
    download: "Descargar",
    listen: "Escuchar {stem}",
    unread: "El navegador no puede leer este archivo como sonido; usa WAV, FLAC, MP3, Ogg o M4A.",
    channels: "La canción tiene {count} canales; usa una de uno o dos.",
    failed: "No ha funcionado: {reason}",
    licence: "Modelo: {name}, licencia {license}.",
    language: "Idioma",
    vocals: "Voz",
    drums: "Batería",
    bass: "Bajo",
    other: "Otros",
  },
};

/** Return a text in a language, with its gaps filled; a name that has no text stays as it is. */
export function say(language, key, gaps = {}) {
  const text = TEXTS[language][key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(gaps[name]));
}
