// The result with the original laid over its left part, and a divide to move. Two sizes: the whole picture in
// the window, or one picture pixel for one screen pixel, where the difference shows; then it pans.
import { type KeyboardEvent, type PointerEvent, useCallback, useLayoutEffect, useRef, useState } from "react";
import { Choice } from "../../ui/field";
import { MoveIcon } from "../../ui/icons";
import css from "./before-after.module.css";
import { cutAt, cutByKey, pictureCut } from "./slider-math";

interface BeforeAfterProps {
  /** Null if the original isn't at hand: the result stands alone. */
  before: string | null;
  after: string;
  /** A picture did not load; its URL may have run out. */
  onBroken: () => void;
}

export function BeforeAfter({ before, after, onBroken }: BeforeAfterProps) {
  const [cut, setCut] = useState(0.5);
  const [zoom, setZoom] = useState<"fit" | "full">("fit");
  const [size, setSize] = useState<{ width: number; height: number } | null>(null);
  const [beforeBroken, setBeforeBroken] = useState(false);
  const frame = useRef<HTMLDivElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const picture = useRef<HTMLDivElement>(null);
  const drag = useRef<"divide" | { x: number; y: number } | null>(null);
  const original = beforeBroken ? null : before;

  // Through the style object and not a style attribute: the content security policy allows no inline styles.
  const paint = useCallback(() => {
    const box = scroller.current;
    const inner = picture.current;
    if (!frame.current || !box || !inner) return;
    const shown = pictureCut(cut, box.clientWidth, inner.offsetWidth, inner.offsetLeft - box.scrollLeft);
    frame.current.style.setProperty("--divide", `${cut * 100}%`);
    inner.style.setProperty("--cut", `${shown * 100}%`);
  }, [cut]);

  useLayoutEffect(() => {
    const inner = picture.current;
    const outer = frame.current;
    if (!inner || !outer || !size) return;
    if (zoom === "full") {
      outer.style.width = "";
      inner.style.width = `${size.width / (window.devicePixelRatio || 1)}px`;
    } else {
      // As wide as fits, as high as leaves the buttons in sight; a tiny picture is shown somewhat larger than it is.
      const byHeight = `min(70vh, 40rem) * ${size.width / size.height}`;
      inner.style.width = "";
      outer.style.width = `min(100%, ${byHeight}, max(${size.width}px, 22rem))`;
    }
  }, [zoom, size]);

  // Entering full size begins in the middle of the picture, where its subject most often is.
  useLayoutEffect(() => {
    const box = scroller.current;
    if (!box) return;
    box.scrollLeft = zoom === "full" ? (box.scrollWidth - box.clientWidth) / 2 : 0;
    box.scrollTop = zoom === "full" ? (box.scrollHeight - box.clientHeight) / 2 : 0;
  }, [zoom]);

  useLayoutEffect(() => {
    paint();
    if (!scroller.current || typeof ResizeObserver === "undefined") return;
    const observer = new ResizeObserver(paint);
    observer.observe(scroller.current);
    return () => observer.disconnect();
  }, [paint]);

  const moveTo = (clientX: number) => {
    const box = frame.current?.getBoundingClientRect();
    if (box) setCut(cutAt(clientX, box.left, box.width));
  };
  const down = (event: PointerEvent) => {
    if (event.button !== 0) return;
    const onHandle = event.target instanceof Element && event.target.closest("[role=slider]") !== null;
    if (original && (zoom === "fit" || onHandle)) {
      drag.current = "divide";
      moveTo(event.clientX);
    } else if (event.pointerType === "mouse") {
      // A finger pans by itself.
      drag.current = { x: event.clientX, y: event.clientY };
    } else {
      return;
    }
    event.currentTarget.setPointerCapture(event.pointerId);
  };
  const move = (event: PointerEvent) => {
    if (drag.current === "divide") moveTo(event.clientX);
    else if (drag.current && scroller.current) {
      scroller.current.scrollLeft -= event.clientX - drag.current.x;
      scroller.current.scrollTop -= event.clientY - drag.current.y;
      drag.current = { x: event.clientX, y: event.clientY };
    }
  };
  const up = () => {
    drag.current = null;
  };
  const key = (event: KeyboardEvent) => {
    const wanted = cutByKey(cut, event.key);
    if (wanted === null) return;
    event.preventDefault();
    setCut(wanted);
  };

  return (
    <div className={css.whole}>
      <div
        ref={frame}
        className={css.frame}
        data-zoom={zoom}
        data-compares={original ? true : undefined}
        onPointerDown={down}
        onPointerMove={move}
        onPointerUp={up}
        onPointerCancel={up}
      >
        {/* At full size it scrolls, and what scrolls must be reachable by keyboard. */}
        <div
          ref={scroller}
          className={css.scroller}
          onScroll={paint}
          tabIndex={zoom === "full" ? 0 : undefined}
        >
          <div ref={picture} className={css.picture}>
            <img
              className={css.after}
              src={after}
              alt="The result"
              draggable={false}
              onLoad={(event) => {
                const { naturalWidth: width, naturalHeight: height } = event.currentTarget;
                setSize({ width, height });
                paint();
              }}
              onError={onBroken}
            />
            {original ? (
              <img
                className={css.before}
                src={original}
                alt="The original"
                draggable={false}
                onError={() => setBeforeBroken(true)}
              />
            ) : null}
          </div>
        </div>
        {original ? (
          <>
            <span className={`${css.tag} ${css.tagBefore}`} aria-hidden="true">
              Before
            </span>
            <span className={`${css.tag} ${css.tagAfter}`} aria-hidden="true">
              After
            </span>
            <div
              className={css.divide}
              role="slider"
              tabIndex={0}
              aria-label="How much of the original to show"
              aria-valuemin={0}
              aria-valuemax={100}
              aria-valuenow={Math.round(cut * 100)}
              aria-valuetext={`${Math.round(cut * 100)} % original`}
              onKeyDown={key}
            >
              <span className={css.handle}>
                <MoveIcon />
              </span>
            </div>
          </>
        ) : null}
      </div>
      {size ? (
        <div className={css.zoom}>
          <Choice
            legend="Show"
            options={[
              { value: "fit", label: "Whole picture" },
              { value: "full", label: "Full size" },
            ]}
            value={zoom}
            onChange={setZoom}
          />
        </div>
      ) : null}
    </div>
  );
}
